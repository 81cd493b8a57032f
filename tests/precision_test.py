import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from restr_jax import precision
from restr_jax.models import build_model, parameters


def test_a_cpu_computes_in_float32_by_default(monkeypatch):
    assert precision.compute_dtype("bfloat16") == jnp.bfloat16
    for backend, expected in (("cpu", "float32"), ("gpu", "bfloat16")):
        monkeypatch.setattr(jax, "default_backend", lambda b=backend: b)
        assert precision.compute_dtype("auto") == jnp.dtype(expected)
        assert precision.compute_dtype("float32") == jnp.float32


def test_only_floating_point_is_cast():
    tree = {"a": jnp.ones(2), "b": jnp.arange(2), "c": jnp.ones(2, bool)}
    cast = precision.cast(tree, jnp.dtype("bfloat16"))
    assert {k: str(v.dtype) for k, v in cast.items()} == {
        "a": "bfloat16",
        "b": "int32",
        "c": "bool",
    }


@pytest.mark.parametrize(
    "preset", ["paper", pytest.param("released", marks=pytest.mark.slow)]
)
def test_bfloat16_logits_are_close_to_float32_logits(preset):
    config = common.get_config("tiny", preset)
    # A layer of each kind.
    config.model.vision.num_layers, config.model.fusion.num_layers = 1, 2
    model = build_model(config.model, vocab_size=10)
    params = parameters.init(model, config.data.max_words, seed=0)
    image = jax.random.normal(jax.random.key(1), (1, *config.model.image_size, 3))
    tokens = jnp.array([[[1, 2, 3] + [0] * 17]])

    @jax.jit
    def run(params, image):
        return model.apply({"params": params}, image, tokens, deterministic=True)

    full = run(params, image)
    half = run(*precision.cast((params, image), jnp.dtype("bfloat16")))
    for one, other in zip(half, full, strict=True):
        # The logits are float32 for every compute dtype.
        assert one.dtype == other.dtype == jnp.float32
        # 8 bits of mantissa, over several layers.
        scale = float(jnp.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=0.05 * scale)
        assert not jnp.array_equal(one, other)
