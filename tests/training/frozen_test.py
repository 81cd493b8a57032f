import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from restr_jax.models import build_model, parameters
from restr_jax.training import train_state
from restr_jax.training.optimizer import make_optimizer
from restr_jax.training.train_step import make_train_step
from restr_jax.workdir.config_checks import check_config


@pytest.fixture
def config():
    config = common.get_config("tiny")
    config.model.image_size = (16, 16)
    for part, layers in (("vision", 3), ("language", 1), ("fusion", 2)):
        sizes = {"width": 32, "mlp_dim": 64, "num_heads": 2, "num_layers": layers}
        config.model[part].update(sizes)
    config.dtype = "float32"
    return config


def lowered(config):
    """Returns a lowered training step of a batch of two, and its state as shapes."""
    model = build_model(config.model, 9)
    optimizer = make_optimizer(config.optimizer)
    averaged = bool(config.optimizer.ema_decay)
    state = jax.eval_shape(
        lambda: train_state.create(
            parameters.init(model, 4, seed=0), optimizer, averaged=averaged
        )
    )
    shapes = {
        "image": ((2, 16, 16, 3), jnp.uint8),
        "box": ((2, 4), jnp.int32),
        "tokens": ((2, 1, 4), jnp.int32),
        "valid": ((2, 1), bool),
        "row": ((2,), jnp.int32),
        "mask": ((2, 1, 16, 16), bool),
    }
    batch = {name: jax.ShapeDtypeStruct(*given) for name, given in shapes.items()}
    step = make_train_step(model, optimizer, config)
    return jax.jit(lambda s, b: step(s, b, None)).lower(state, batch), state, model


def flops(program):
    return program.cost_analysis()["flops"]


def test_a_frozen_part_costs_no_backward_pass_and_has_no_moments(config):
    whole, state, model = lowered(config)
    vision = jax.tree.leaves(state.params["vision"])
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    forward = jax.jit(
        lambda p, x: model.apply(
            {"params": p}, x, deterministic=True, method=model.encode_image
        )
    ).lower(state.params, images)
    config.optimizer.lr_scale.vision = 0.0
    frozen, without, _ = lowered(config)
    # A backward pass costs twice the forward pass, and Adam adds more.
    assert flops(whole) - flops(frozen) > 1.9 * flops(forward)
    moments = [
        sum(x.size for x in jax.tree.leaves(s.opt_state)) for s in (state, without)
    ]
    spared = 2 * sum(x.size for x in vision)
    assert abs(moments[0] - moments[1] - spared) <= 2  # Except for counts.


def test_no_gradient_is_computed_below_the_first_trained_part(config):
    whole, _, _ = lowered(config)
    for part in ("vision", "language", "fusion"):
        config.optimizer.lr_scale[part] = 0.0
    decoder, _, _ = lowered(config)
    assert flops(decoder) < 0.6 * flops(whole)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loss.dice_weight", -1.0, r"loss.dice_weight is -1.0; .* in \[0, inf"),
        ("optimizer.ema_decay", 1.0, r"ema_decay is 1.0; .* 1\), such as 0.999"),
        ("data.color_jitter", float("nan"), "color_jitter is nan"),
        ("optimizer.lr_scale.fusion", "0", "lr_scale.fusion is '0'"),
    ],
)
def test_invalid_values_are_refused(key, value, message):
    config = common.get_config("tiny")
    config.data.dataset = "shapes"
    part, _, name = key.rpartition(".")
    for step in part.split("."):
        inner = config[step] if step == part.split(".")[0] else inner[step]
    inner.unlock()
    with inner.ignore_type():
        inner[name] = value
    with pytest.raises(ValueError, match=message):
        check_config(config)


def test_options_are_off_in_every_preset():
    for preset in common.PRESETS:
        config = common.get_config(preset=preset)
        off = config.loss.dice_weight, config.optimizer.ema_decay
        assert (*off, config.data.color_jitter) == (0.0, 0.0, 0.0)


def test_an_average_adds_one_copy_of_the_parameters(config):
    config.optimizer.ema_decay = 0.99
    _, state, _ = lowered(config)
    sizes = [
        sum(x.size for x in jax.tree.leaves(t)) for t in (state.params, state.average)
    ]
    assert sizes[0] == sizes[1] > 0
    assert np.dtype(jax.tree.leaves(state.average)[0].dtype) == np.float32
