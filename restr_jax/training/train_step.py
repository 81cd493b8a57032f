"""One update of the parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from restr_jax import precision
from restr_jax.models import ReSTR
from restr_jax.training import inputs
from restr_jax.training.losses import segmentation_losses
from restr_jax.training.optimizer import frozen_of, make_schedule, with_schedule_at
from restr_jax.training.train_state import TrainState, averaged, with_frozen


def make_train_step(
    model: ReSTR, optimizer: optax.GradientTransformation, config
) -> Callable:
    """Returns ``step(state, batch, axis_name) -> (state, sums)``.

    Devices and parts of the batch contribute sums of losses, not means: the mean is
    over the valid expressions of the whole batch. Stochastic depth depends on the seed,
    the step and an image's row in the whole batch, which travels with the image
    (``batch["row"]``). It is independent of the devices, their order and the number of
    parts or processes.

    ``sums["nonfinite"]`` is 1 if the loss or gradient is not finite. If such steps are
    skipped, the step still counts, also for the learning rate, but changes nothing
    else. If they stop the run, the returned state is unusable.
    """
    schedule = make_schedule(config.optimizer)
    gradient_of = jax.grad(_make_loss(model, config), has_aux=True)
    gradient_of = _in_parts(gradient_of, config.accumulate_steps)

    def step(state: TrainState, batch: dict, axis_name: str | None):
        # From the seed and the step alone: a resumed run draws the same numbers.
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradient, sums = gradient_of(state.params, batch, key)
        # pmap adds the devices' sums here; jit has them from the sharding of the batch.
        if axis_name:
            gradient, sums = jax.lax.psum((gradient, sums), axis_name)
        # Only now a mean: each device may have another number of valid expressions. A
        # batch of unreadable images has none.
        count = jnp.maximum(sums["count"], 1.0)
        gradient = jax.tree.map(lambda g: g / count, gradient)
        opt_state = with_schedule_at(state.opt_state, state.step)
        updates, opt_state = optimizer.update(gradient, opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # The average follows the parameters, and has no gradient of its own.
        average = state.average
        if average is not None:
            decay = config.optimizer.ema_decay
            average = averaged(average, params, state.step, decay)
        # A dot product is optimised on CPUs; optax.tree.norm sums squares.
        norm = jnp.sqrt(optax.tree.vdot(gradient, gradient))
        finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(norm)
        if config.optimizer.nonfinite == "skip":
            # No update starts before the whole gradient is known, which costs memory
            # and time. A run that stops anyway need not pay for it.
            params, opt_state, average = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old),
                (params, opt_state, average),
                (state.params, state.opt_state, state.average),
            )
        sums["gradient_norm"] = norm
        sums["nonfinite"] = 1.0 - finite.astype(jnp.float32)
        sums["learning_rate"] = jnp.asarray(schedule(state.step), jnp.float32)
        return TrainState(state.step + 1, params, opt_state, average), sums

    return step


def _make_loss(model: ReSTR, config) -> Callable:
    """Returns ``loss(params, batch, key) -> (loss, sums)``, sums over a batch."""
    dtype = precision.compute_dtype(config.dtype)
    is_frozen = frozen_of(config.optimizer)

    def loss_sum(params: Any, batch: dict, key: jax.Array):
        image = inputs.normalise(batch["image"], batch["box"])
        if is_frozen is not None:
            params = with_frozen(params, is_frozen)  # Saves their backward pass.
        # Parameters and moments stay float32; only the computation has this type.
        params, image = precision.cast((params, image), dtype)
        output = model.apply(
            {"params": params},
            image,
            batch["tokens"],
            deterministic=False,
            rows=batch["row"],
            rngs={"dropout": key},
        )
        sums = segmentation_losses(
            output,
            batch["mask"].astype(jnp.float32),
            batch["valid"],
            patch_size=config.model.patch_size,
            patch_threshold=config.loss.patch_threshold,
            patch_weight=config.loss.patch_weight,
            dice_weight=config.loss.dice_weight,
        )
        # The loader marks every expression of an unreadable image as invalid.
        sums["bad_images"] = jnp.sum(~batch["valid"].any(-1), dtype=jnp.float32)
        return sums["loss"], sums

    return loss_sum


def _in_parts(gradient_of: Callable, parts: int) -> Callable:
    """Makes ``gradient_of(params, batch, key)`` process parts one after the other."""
    if parts == 1:
        return gradient_of

    def total(params: Any, batch: dict, key: jax.Array):
        # Every device keeps its own rows: part i has rows i, i + parts, ...
        cut = jax.tree.map(
            lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch
        )

        # A scan holds the activations of one part at a time, which is the purpose.
        def add(so_far, part):
            return optax.tree.add(so_far, gradient_of(params, part, key)), None

        one = jax.tree.map(lambda x: x[0], cut)
        nothing = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(gradient_of, params, one, key),
        )
        return jax.lax.scan(add, nothing, cut)[0]

    return total
