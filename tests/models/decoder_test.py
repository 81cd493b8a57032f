import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_parts import random

from restr_jax.models import Decoder
from restr_jax.models.upsampling import upsample


def decode_as_printed(params, visual, masked):
    """Decodes in the paper's order: upsample, linear, activation."""
    x = jnp.concatenate([visual, masked], axis=-1)
    for i in range(3):
        x = upsample(x, 2) @ params[f"linear_{i}"]["kernel"]
        x = nn.leaky_relu(x, 0.01)
    return (x @ params["to_logit"]["kernel"])[..., 0]


def test_linear_before_upsampling_equals_the_paper_s_order():
    visual, masked = random(1, 3, 2, 8), random(1, 3, 2, 8, seed=1)
    model = Decoder(patch_size=8, width=8)
    variables = jax.jit(model.init)(jax.random.key(0), visual, masked)
    ours = jax.jit(model.apply)(variables, visual, masked)
    printed = jax.jit(decode_as_printed)(variables["params"], visual, masked)
    assert ours.shape == (1, 24, 16)
    # Equal in exact arithmetic; float32 rounds sums in another order.
    np.testing.assert_allclose(ours, printed, rtol=0, atol=2e-6)

    def both(function):
        def total(visual, masked):
            return (function(visual, masked) ** 2).sum()

        return jax.jit(jax.grad(total, argnums=(0, 1)))

    for one, other in zip(
        both(lambda v, m: model.apply(variables, v, m))(visual, masked),
        both(lambda v, m: decode_as_printed(variables["params"], v, m))(visual, masked),
        strict=True,
    ):
        scale = float(jnp.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


def test_a_linear_with_bias_commutes_with_upsampling_too():
    x, kernel, bias = random(1, 3, 2, 4), random(4, 5, seed=1), random(5, seed=2)
    first, last = upsample(x @ kernel + bias, 2), upsample(x, 2) @ kernel + bias
    np.testing.assert_allclose(first, last, rtol=0, atol=3e-6)


def test_a_patch_that_doubling_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="patch size of 6 with a width of 8"):
        Decoder(6, 8).init(jax.random.key(0), random(1, 2, 2, 8), random(1, 2, 2, 8))
