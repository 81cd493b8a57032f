import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import common
from restr_jax.models import build_model, parameters
from restr_jax.training.optimizer import (
    make_optimizer,
    make_schedule,
    rates_by_part,
)


def config(**changes):
    optimizer = common.get_config().optimizer
    optimizer.update(changes)
    return optimizer


PARAMS = {
    "vision": {"kernel": jnp.array([[0.5, -2.0]]), "bias": jnp.array([1.0])},
    "fusion": {"kernel": jnp.array([[0.5, -2.0]])},
}
GRADIENT = {
    "vision": {"kernel": jnp.array([[0.1, -3.0]]), "bias": jnp.array([0.2])},
    "fusion": {"kernel": jnp.array([[0.1, -3.0]])},
}


def two_updates(optimizer_config):
    """Returns the second update; the first has a learning rate of 0."""
    optimizer = make_optimizer(optimizer_config)
    state = optimizer.init(PARAMS)
    first, state = optimizer.update(GRADIENT, state, PARAMS)
    assert all(not jnp.any(u) for u in jax.tree.leaves(first))
    return optimizer.update(GRADIENT, state, PARAMS)[0]


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (20_000, 5e-6),
        (40_000, 1e-5),
        (220_000, 1e-5 * 0.5**0.9),
        (399_999, 1e-5 * (1 / 360_000) ** 0.9),
        (400_000, 0.0),
        (500_000, 0.0),
    ],
)
def test_the_schedule_warms_up_and_decays_as_in_the_paper(step, rate):
    # float32 arithmetic: near the end, the remaining fraction is a difference of close
    # values.
    tolerance = 1e-2 if step == 399_999 else 1e-6
    np.testing.assert_allclose(make_schedule(config())(step), rate, rtol=tolerance)


def test_an_update_matches_adamw_by_hand():
    settings = config(learning_rate=0.1, warmup_steps=10, total_steps=100)
    update = two_updates(settings)
    # Equal gradients: both bias-corrected moments are the gradient and its square.
    p, g = np.array([[0.5, -2.0]]), np.array([[0.1, -3.0]])
    expected = -0.01 * (g / (np.abs(g) + 1e-8) + 5e-4 * p)
    # In float32, 1 - beta2^2 is off by 3e-5; the update uses its root.
    np.testing.assert_allclose(update["vision"]["kernel"], expected, rtol=2e-5)


def test_each_part_has_its_own_learning_rate():
    settings = config(learning_rate=0.1, warmup_steps=10, total_steps=100)
    full = two_updates(settings)
    settings.lr_scale.vision = 0.1
    tenth = two_updates(settings)
    np.testing.assert_allclose(
        tenth["vision"]["kernel"], 0.1 * full["vision"]["kernel"], rtol=1e-6
    )
    np.testing.assert_array_equal(tenth["fusion"]["kernel"], full["fusion"]["kernel"])
    settings.lr_scale.vision = 0.0
    assert not jnp.any(two_updates(settings)["vision"]["kernel"])


def test_decay_can_be_limited_to_matrices():
    settings = config(learning_rate=0.1, warmup_steps=10, total_steps=100)
    every = two_updates(settings)
    settings.decay_mask = "matrices"
    matrices = two_updates(settings)
    np.testing.assert_array_equal(
        matrices["vision"]["kernel"], every["vision"]["kernel"]
    )
    difference = every["vision"]["bias"] - matrices["vision"]["bias"]
    np.testing.assert_allclose(difference, [-0.01 * 5e-4], rtol=1e-3)


def of_one_layer_each(preset):
    """Returns a configuration and its model, with a layer of each kind."""
    config = common.get_config("tiny", preset)
    for part, layers in (("vision", 1), ("language", 1), ("fusion", 2)):
        config.model[part].num_layers = layers
    return config, build_model(config.model, vocab_size=3)


@functools.partial(jax.jit, static_argnums=0)
def first_update(optimizer, gradient, params):
    return optimizer.update(gradient, optimizer.init(params), params)


@pytest.mark.parametrize("preset", common.PRESETS)
def test_only_the_weights_of_linear_maps_are_matrices(preset):
    config, model = of_one_layer_each(preset)
    shapes = parameters.abstract(model, 2)
    # The gradient is zero, so only decayed arrays shrink.
    ones = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    nothing = jax.tree.map(np.zeros_like, ones)
    settings = config.optimizer
    settings.warmup_steps, settings.decay_mask = 0, "matrices"
    optimizer = make_optimizer(settings)
    updates, _ = first_update(optimizer, nothing, ones)
    named = flatten_dict(updates, sep="/")
    decayed = {path for path, update in named.items() if update.any()}
    assert decayed == {path for path in named if path.endswith("/kernel")}
    spared = {"/".join(path.split("/")[-2:]) for path in named.keys() - decayed}
    # All except biases and norms of blocks and linears, written out.
    single = {n for n in spared if not n.endswith(("/bias", "/scale"))}
    expected = {"vision/positions", "fusion/seed", "words/embedding"}
    assert single == expected | (
        {"vision/class_token"} if preset == "released" else set()
    )
    assert {"decoder/to_logit/kernel", "vision/patch_embedding/kernel"} <= decayed


def test_muon_updates_are_orthogonal_with_the_scale_of_adamw():
    settings = config(learning_rate=0.1, warmup_steps=0, weight_decay=0.0, rule="muon")
    gradient = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    tree = {"fusion": {"fc1": {"kernel": jnp.asarray(gradient)}}}
    optimizer = make_optimizer(settings)
    update, _ = optimizer.update(tree, optimizer.init(tree), tree)
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    turned = left.T @ update["fusion"]["fc1"]["kernel"] @ right.T
    np.testing.assert_allclose(turned - np.diag(np.diag(turned)), 0.0, atol=1e-6)
    # All singular values are one, up to the error of five iterations. Their scale gives
    # the root mean square of 0.2 of an AdamW update.
    size = np.diag(turned) / (-0.1 * 0.2 * np.sqrt(6))
    assert size.min() > 0.65 and size.max() < 1.25


def test_muon_is_for_the_matrices_between_the_first_and_the_last_layer():
    config, model = of_one_layer_each("paper")
    shapes = parameters.abstract(model, 2)
    gradient = jax.tree.map(
        lambda x: np.sin(np.arange(x.size, dtype=np.float32) + 1).reshape(x.shape),
        shapes,
    )
    config.optimizer.warmup_steps = 0
    updates = {}
    for rule in ("adamw", "muon"):
        config.optimizer.rule = rule
        optimizer = make_optimizer(config.optimizer)
        update, _ = first_update(optimizer, gradient, gradient)
        updates[rule] = flatten_dict(update, sep="/")
    same = {
        path
        for path, update in updates["adamw"].items()
        if np.array_equal(update, updates["muon"][path])
    }
    kernels = {path for path in updates["adamw"] if path.endswith("/kernel")}
    assert same & kernels == {
        "vision/patch_embedding/kernel",
        "decoder/to_logit/kernel",
    }
    assert same | kernels == updates["adamw"].keys()


def test_clipping_applies_before_the_moments():
    settings = config(warmup_steps=0, total_steps=100, clip_norm=1.0)
    optimizer = make_optimizer(settings)
    _, state = optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)
    norm = np.sqrt(2 * (0.1**2 + 3.0**2) + 0.2**2)
    mu = state[1][0].mu["vision"]["kernel"]
    np.testing.assert_allclose(mu, 0.1 * np.array([[0.1, -3.0]]) / norm, rtol=1e-5)


def test_invalid_settings_are_refused():
    with pytest.raises(ValueError, match="rule 'sgd'; it is one of"):
        make_optimizer(config(rule="sgd"))
    with pytest.raises(ValueError, match="decay_mask 'some'"):
        make_optimizer(config(decay_mask="some"))
    with pytest.raises(ValueError, match=r"config\.optimizer\.warmup_steps is 100; "):
        make_optimizer(config(warmup_steps=100, total_steps=100))


def test_each_part_has_the_rate_of_its_scale():
    scaled = config()
    scaled.lr_scale.vision, scaled.lr_scale.language = 0.25, 0.0
    assert rates_by_part(scaled, 1e-3) == {
        "vision": 2.5e-4,
        "language": 0.0,
        "fusion": 1e-3,
        "decoder": 1e-3,
    }
