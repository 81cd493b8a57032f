import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restr_jax.models import attention


def heads(*shape):
    keys = jax.random.split(jax.random.key(0), 3)
    return [2.0 * jax.random.normal(key, shape) for key in keys]


def defined(q, k, v, mask):
    """Eq. 3 in float64, a token of a head at a time."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    output = np.zeros_like(q)
    for batch, row, head in np.ndindex(q.shape[:3]):
        scores = k[batch, :, head] @ q[batch, row, head] / np.sqrt(q.shape[-1])
        if mask is not None:
            scores = np.where(mask[batch], scores, -np.inf)
        weights = np.exp(scores - scores.max())
        output[batch, row, head] = weights @ v[batch, :, head] / weights.sum()
    return output


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("width", [8, 25])
def test_attention_equals_its_definition(width, masked, recompute):
    q, k, v = heads(2, 6, 3, width)
    mask = jnp.array([[True] * 4 + [False] * 2, [True] * 6]) if masked else None
    ours = attention.attend(q, k, v, mask, recompute=recompute)
    np.testing.assert_allclose(ours, defined(q, k, v, mask), rtol=0, atol=3e-6)


def test_attention_weights_are_those_that_attention_uses():
    q, k, v = heads(2, 6, 3, 8)
    mask = jnp.arange(6) < jnp.array([[4], [6]])
    weights = attention.weights(q.swapaxes(1, 2), k.swapaxes(1, 2), mask)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    by_weights = (weights @ v.swapaxes(1, 2)).swapaxes(1, 2)
    ours = attention.attend(q, k, v, mask, recompute=False)
    np.testing.assert_allclose(ours, by_weights, rtol=0, atol=3e-6)


def test_recomputing_changes_no_gradient():
    q, k, v = heads(2, 6, 3, 8)

    def loss(q, k, v, recompute):
        return (attention.attend(q, k, v, None, recompute=recompute) ** 2).sum()

    kept, again = (
        jax.grad(loss, argnums=(0, 1, 2))(q, k, v, recompute)
        for recompute in (False, True)
    )
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_bfloat16_sums_in_float32():
    # 4,096 equal tokens: sums in bfloat16 would stop growing at 256.
    q = jnp.zeros((1, 4096, 1, 8), jnp.bfloat16)
    v = jnp.ones_like(q)
    output = attention.attend(q, q, v, None, recompute=False)
    assert output.dtype == jnp.bfloat16
    np.testing.assert_array_equal(output.astype(jnp.float32), 1.0)


@pytest.mark.parametrize(
    ("shape", "dtype", "masked", "takes"),
    [
        ((2, 900, 12, 64), jnp.bfloat16, False, True),
        ((2, 920, 12, 64), jnp.bfloat16, True, True),
        ((2, 20, 12, 25), jnp.bfloat16, True, True),  # padded to 32
        ((2, 21, 12, 64), jnp.bfloat16, True, False),  # odd, with a mask
        ((2, 901, 12, 64), jnp.bfloat16, False, True),
        ((2, 900, 12, 64), jnp.float32, False, False),
        ((2, 900, 2, 384), jnp.bfloat16, False, False),
    ],
)
def test_cudnn_is_asked_only_for_what_it_takes(shape, dtype, masked, takes):
    q = jax.ShapeDtypeStruct(shape, dtype)
    mask = jax.ShapeDtypeStruct(shape[:2], bool) if masked else None
    assert attention._cudnn_takes(q, mask) == takes


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("width", [25, 64])
def test_cudnn_equals_xla(width, masked):
    q, k, v = (x.astype(jnp.bfloat16) for x in heads(2, 20, 3, width))
    mask = jnp.arange(20) < jnp.array([[7], [20]]) if masked else None
    ours = attention._attend_cudnn(q, k, v, mask).astype(jnp.float32)
    swapped = (x.swapaxes(1, 2) for x in (q, k, v))
    theirs = attention._attend_xla(*swapped, mask).swapaxes(1, 2)
    np.testing.assert_allclose(ours, theirs.astype(jnp.float32), rtol=0, atol=0.05)
