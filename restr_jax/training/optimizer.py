"""AdamW, or Muon, with a linear warm-up and a polynomial decay, from optax."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from optax import contrib

RULES = ("adamw", "muon")
DECAY_MASKS = ("all", "matrices")


def make_schedule(config) -> optax.Schedule:
    """Returns the learning rate schedule: 0 to the peak, then down to 0.

    Args:
        config: the ``optimizer`` part of a configuration.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    return optax.join_schedules(
        [
            # optax.linear_schedule loses digits by subtracting nearly equal numbers.
            lambda step: peak * (step / max(warmup, 1)),
            optax.polynomial_schedule(
                peak, 0.0, config.poly_power, config.total_steps - warmup
            ),
        ],
        [warmup],
    )


def make_optimizer(config) -> optax.GradientTransformation:
    """Returns the optimizer that ``config`` (the ``optimizer`` part) describes.

    Each part of the model learns at the schedule's rate times its own scale. Frozen
    parameters (`frozen_of`) have no moments and no weight decay.

    Raises:
        ValueError: if the rule or the decay mask is unknown, or the warm-up is not
            shorter than the run.
    """
    for key, known in (("rule", RULES), ("decay_mask", DECAY_MASKS)):
        if config[key] not in known:
            raise ValueError(
                f"Unknown config.optimizer.{key} {config[key]!r}; it is one of {known}."
            )
    if not 0 <= config.warmup_steps < config.total_steps:
        raise ValueError(
            f"config.optimizer.warmup_steps is {config.warmup_steps}; it has to be at "
            "least 0 and less than config.optimizer.total_steps, "
            f"{config.total_steps}. Shorten the warm-up with the run."
        )
    # Clipping sees the raw gradient. The scale comes last, since AdamW and Muon would
    # normalise an earlier one away.
    scales = {part: optax.scale(scale) for part, scale in config.lr_scale.items()}
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.clip_norm)
        if config.clip_norm
        else optax.identity(),
        _make_rule(config),
        optax.partition(scales, _parts),
    )
    is_frozen = frozen_of(config)
    if is_frozen is None:
        return optimizer

    def kinds(params):
        return jax.tree.map_with_path(
            lambda path, _: "frozen" if is_frozen(path) else "trained", params
        )

    # A partition, and not a mask: the frozen part has no moments in memory.
    both = {"trained": optimizer, "frozen": optax.set_to_zero()}
    return optax.partition(both, kinds)


def _make_rule(config) -> optax.GradientTransformation:
    """Returns AdamW, or Muon for matrices and AdamW for all other parameters."""
    schedule, decay = make_schedule(config), config.weight_decay
    adamw = optax.adamw(
        schedule,
        b1=config.beta1,
        b2=config.beta2,
        weight_decay=decay,
        mask=_matrices if config.decay_mask == "matrices" else None,
    )
    if config.rule == "adamw":
        return adamw
    # Updates as large as AdamW's (arXiv:2502.16982), so that one rate suits both.
    muon = contrib.muon(schedule, weight_decay=decay, consistent_rms=0.2)
    return optax.partition({"muon": muon, "adamw": adamw}, _rules)


def frozen_of(config) -> Callable[[tuple], bool] | None:
    """Returns a predicate of parameter paths, true for frozen parameters.

    These are the parts with an `lr_scale` of 0, and the word table with `freeze_words`.

    Args:
        config: the ``optimizer`` part of a configuration.

    Returns:
        None if everything is trained.
    """
    parts = {part for part, scale in config.lr_scale.items() if not scale}
    words = config.freeze_words
    if not parts and not words:
        return None

    def is_frozen(path) -> bool:
        names = [key.key for key in path[:2]]
        return names[0] in parts or (words and names == ["language", "words"])

    return is_frozen


def rates_by_part(config, rate: float) -> dict[str, float]:
    """Returns the learning rate of each part of the model, 0 for frozen parts.

    Args:
        config: the ``optimizer`` part of a configuration.
        rate: the schedule's learning rate.
    """
    return {part: rate * scale for part, scale in config.lr_scale.items()}


def with_schedule_at(opt_state: Any, step: jax.Array) -> Any:
    """Returns the optimizer's state with its schedule at a step.

    The schedule counts all steps, including skipped ones, so that it ends with the run.
    The moments count only the updates that they have seen.
    """

    def is_schedule(part: Any) -> bool:
        return isinstance(part, optax.ScaleByScheduleState)

    return jax.tree.map(
        lambda part: optax.ScaleByScheduleState(step) if is_schedule(part) else part,
        opt_state,
        is_leaf=is_schedule,
    )


def _matrices(params):
    """Marks the parameters with weight decay: the weights of linear maps.

    Selects by name, since positions, class token, seed and word vectors have as many
    axes. Decay would pull these, like biases and norms, to zero without a benefit.
    Words that no expression contains would lose their pretrained vectors.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def _parts(params):
    """Labels every parameter with the part of the model it belongs to."""
    return {
        part: jax.tree.map(lambda _, part=part: part, tree)
        for part, tree in params.items()
    }


def _rules(params):
    """Marks the parameters for Muon: matrices between the first and the last layer."""

    def rule(path, value):
        *_, layer, name = (key.key for key in path)
        # The first and the last layer are better served by AdamW, as are vectors.
        hidden = name == "kernel" and layer not in ("patch_embedding", "to_logit")
        return "muon" if hidden and value.ndim == 2 else "adamw"

    return jax.tree_util.tree_map_with_path(rule, params)
