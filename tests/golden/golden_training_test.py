import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from restr_jax import train, train_state
from restr_jax.losses import segmentation_losses
from restr_jax.optimizer import make_optimizer, make_schedule
from restr_jax.pretrained import released

VARIANTS = (
    "released_tiny",
    "released_tiny_shared",
    "released_tiny_nodecoder",
    "released_tiny_vme",
    "released_tiny_ime",
)
# Compiles in half the time.
QUICK = {"xla_backend_optimization_level": 0}


def released_config(published):
    """Returns the preset's configuration for a model of this size."""
    config = common.get_config(preset="released")
    config.model = published.config
    return config


def gradients(published, config, image, tokens, mask):
    """Returns losses and, under the published names, all gradients."""

    def loss(params):
        output = published.model.apply(
            {"params": params}, image, tokens, deterministic=True
        )
        sums = segmentation_losses(
            output,
            mask,
            jnp.ones(mask.shape[:2], bool),
            patch_size=config.model.patch_size,
            patch_threshold=config.loss.patch_threshold,
            patch_weight=config.loss.patch_weight,
        )
        means = {name: total / sums["count"] for name, total in sums.items()}
        return means["loss"], means

    compute = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
    (_, means), gradient = compute(published.params)
    return means, gradient, released.to_released(gradient, config.model.fusion.kind)


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_and_every_gradient_are_the_published_model_s(
    name, variant, tiny_inputs, assert_close
):
    published = variant(name)
    config = released_config(published)
    if not config.model.decoder:
        config.loss.patch_weight = 0.0
    means, _, ours = gradients(published, config, *tiny_inputs)
    for part, key in (
        ("pixel", "pixel_loss"),
        ("patch", "patch_loss"),
        ("total", "loss"),
    ):
        theirs = published.numbers[f"loss/{part}"]
        assert_close(means[key], theirs, 1e-5, f"{part} loss")
    compared = {
        key.removeprefix("grad/"): theirs
        for key, theirs in published.numbers.items()
        if key.startswith("grad/")
    }
    for key, theirs in compared.items():
        assert_close(ours[key], theirs, 5e-5, key)
    if name == "released_tiny":
        # All but the unused classification head, which the released program leaves
        # without a gradient too.
        assert set(compared) == {key for key in ours if ".head." not in key}
    else:
        assert len(compared) >= 6


def test_one_update_is_the_published_optimizer_s(variant, tiny_inputs, assert_close):
    published = variant("released_tiny")
    config = released_config(published)
    assert published.numbers["step/schedule_index"] == config.optimizer.warmup_steps
    np.testing.assert_allclose(published.numbers["step/lr"], [1e-5, 1e-6], rtol=1e-12)
    # The peak, where the warm-up ends, is then the first rate.
    config.optimizer.total_steps -= config.optimizer.warmup_steps
    config.optimizer.warmup_steps = 0
    _, gradient, _ = gradients(published, config, *tiny_inputs)
    optimizer = make_optimizer(config.optimizer)
    updates, _ = optimizer.update(
        gradient, optimizer.init(published.params), published.params
    )
    updated = released.to_released(optax.apply_updates(published.params, updates))
    compared = 0
    for key, theirs in published.numbers.items():
        name = key.removeprefix("step/param/")
        if name != key and ".head." not in name:
            assert_close(updated[name], theirs, 1e-7, name, absolute=True)
            assert np.abs(updated[name] - published.arrays[name]).max() > 5e-7, name
            compared += 1
    assert compared >= 18
    # Unused words have no gradient and only decay.
    words = published.arrays["encoder_l.embedding.weight"]
    unused = np.setdiff1d(np.arange(50), tiny_inputs[1])
    np.testing.assert_allclose(
        updated["encoder_l.embedding.weight"][unused],
        words[unused] * (1 - 1e-5 * 5e-4),
        rtol=2e-7,
    )


def test_five_training_steps_end_where_the_published_program_does(
    variant, golden, assert_close
):
    published, numbers = variant("released_tiny"), golden("released_tiny_train")
    settings = json.loads(str(numbers["config_json"]))
    config = released_config(published)
    config.optimizer.learning_rate = settings["base_lr"]
    config.optimizer.warmup_steps = settings["warmup_steps"]
    config.optimizer.total_steps = settings["total_steps"]
    optimizer = make_optimizer(config.optimizer)
    schedule = make_schedule(config.optimizer)
    step = train.make_train_step(published.model, optimizer, config)
    take = jax.jit(lambda s, b: step(s, b, None), compiler_options=QUICK)
    state = train_state.create(published.params, optimizer)
    for i in range(5):
        rates = schedule(i) * np.array([1.0, config.optimizer.lr_scale.vision])
        np.testing.assert_allclose(rates, numbers["lr"][i], rtol=1e-6)
        before = released.to_released(state.params)
        batch = {
            "image": jnp.asarray(numbers[f"in/image_{i}"].transpose(0, 2, 3, 1)),
            # Black beside the image is part of it.
            "box": jnp.array([[0, 0, 64, 64]] * 2, jnp.int32),
            "tokens": jnp.asarray(numbers[f"in/tokens_{i}"], jnp.int32)[:, None],
            "mask": jnp.asarray(numbers[f"in/label_{i}"]),
            "valid": jnp.ones((2, 1), bool),
        }
        state, sums = take(state, batch)
        for part in ("pixel", "patch"):
            mean = sums[f"{part}_loss"] / sums["count"]
            theirs = numbers[f"loss/{part}"][i]
            assert_close(mean, theirs, 5e-5, f"{part} loss of step {i}")
        ours = released.to_released(state.params)
        for key, theirs in numbers.items():
            name = key.removeprefix(f"step{i}/param/")
            if name != key and ".head." not in name:
                assert_close(ours[name], theirs, 2e-5, key, absolute=True)
            # The first update has a learning rate of 0.
            if i == 0 and name in ours:
                np.testing.assert_array_equal(ours[name], before[name])
        if i == 0:
            assert_moments(state.opt_state, numbers, assert_close)


def assert_moments(opt_state, numbers, assert_close):
    for theirs, ours in (("exp_avg", "mu"), ("exp_avg_sq", "nu")):
        moments = released.to_released(optax.tree.get(opt_state, ours))
        keys = [key for key in numbers if key.startswith(f"step0/{theirs}/")]
        assert len(keys) == 5
        for key in keys:
            name = key.removeprefix(f"step0/{theirs}/")
            assert_close(moments[name], numbers[key], 1e-4, key)


def test_the_schedule_is_the_published_one(testdata):
    path = testdata / "golden" / "released_schedule.json"
    published = json.loads(path.read_text())
    config = common.get_config(preset="released").optimizer
    assert config.learning_rate == published["base_lr"]
    assert config.weight_decay == published["weight_decay"]
    assert [config.beta1, config.beta2] == published["betas"]
    assert config.clip_norm == 0 and config.decay_mask == "all"
    assert len(published["poly"]) == 10
    with jax.enable_x64(True):
        schedule = make_schedule(config)
        for row in published["poly"]:
            rate = float(schedule(row["step"]))
            np.testing.assert_allclose(
                [rate, rate * config.lr_scale.vision],
                [row["lr_fusion_and_language"], row["lr_vision"]],
                rtol=1e-12,
            )
    parts = config.lr_scale.to_dict()
    assert parts == {"vision": 0.1, "language": 1.0, "fusion": 1.0, "decoder": 1.0}
