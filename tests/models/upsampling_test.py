import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from restr_jax.models import decoder, upsampling
from restr_jax.models.upsampling import aligned_matrix, double_leaky, upsample

SHAPES = [(3, 2), (1, 5), (16, 30)]


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_interpolation_aligns_the_corners():
    signal = np.array([1.0, 5.0, 2.0])
    expected = np.interp(np.linspace(0, 2, 6), np.arange(3), signal)
    np.testing.assert_allclose(aligned_matrix(3, 6) @ signal, expected, rtol=1e-6)
    np.testing.assert_allclose(aligned_matrix(1, 4), np.ones((4, 1)))


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_interpolates_rows_and_columns(factor):
    x = random(2, 3, 5, 1)
    rows = np.linspace(0, 2, 3 * factor)
    columns = np.linspace(0, 4, 5 * factor)
    ours = np.asarray(upsample(x, factor))
    for map_in, map_out in zip(np.asarray(x)[..., 0], ours[..., 0], strict=True):
        wide = np.stack([np.interp(columns, np.arange(5), row) for row in map_in])
        full = np.stack([np.interp(rows, np.arange(3), col) for col in wide.T]).T
        np.testing.assert_allclose(map_out, full, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_neighbours_and_products_give_the_same_doubling(shape):
    x = random(2, *shape, 3)
    products = upsampling._double_by_products(x)
    # Sums of two values; float32 rounding.
    np.testing.assert_allclose(upsampling._double(x), products, rtol=0, atol=2e-6)
    gradient = random(*products.shape, seed=1)
    (expected,) = jax.vjp(lambda x: upsample(x, 2), x)[1](gradient)
    for transposed in (upsampling._undouble, upsampling._undouble_by_products):
        np.testing.assert_allclose(transposed(gradient), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_doubling_with_its_activation_equals_its_definition(shape):
    x = random(2, *shape, 3)

    def defined(x):
        return nn.leaky_relu(upsample(x, 2), upsampling.SLOPE)

    np.testing.assert_allclose(double_leaky(x), defined(x), rtol=0, atol=2e-6)
    weights = random(*defined(x).shape, seed=1)
    ours, theirs = (
        jax.grad(lambda x, f=f: (f(x) * weights).sum())(x)
        for f in (double_leaky, defined)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "form", [upsampling._double, upsampling._double_by_products, double_leaky]
)
def test_bfloat16_input_gives_bfloat16_output(form):
    x = random(1, 4, 6, 3)
    half = form(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    # Input, weights and result have 8 bits each.
    np.testing.assert_allclose(half.astype(jnp.float32), form(x), rtol=0, atol=0.04)


def test_the_last_map_is_the_same_as_product_and_sum():
    x, kernel = random(2, 3, 4, 8), random(8, 1, seed=1)
    product, total = decoder._product(x, kernel), decoder._sum(x, kernel)
    assert product.shape == (2, 3, 4)
    np.testing.assert_allclose(product, total, rtol=0, atol=1e-5)
    half = decoder._product(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32
