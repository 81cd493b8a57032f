import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from restr_jax.models import layers

BLOCK = {"num_heads": 2, "mlp_dim": 12, "init_std": 0.3, "drop_path_rate": 0.0}


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def block_in_numpy(params, x, num_heads, post_norm=False):
    """Computes Eqs. 1-5 of one sample in float64, with pre- or post-normalisation."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x = np.asarray(x, np.float64)

    def norm(x, q):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * q["scale"] + q["bias"]
        )

    def dense(x, q):
        return x @ q["kernel"] + q["bias"]

    def before(x, q):
        return x if post_norm else norm(x, q)

    def after(x, q):
        return norm(x, q) if post_norm else x

    width = x.shape[-1]
    qkv = dense(before(x, p["norm1"]), p["attention"]["qkv"])
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    size = width // num_heads
    heads = []
    for i in range(num_heads):
        part = slice(i * size, (i + 1) * size)
        scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(size))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
    x = after(x + dense(np.concatenate(heads, -1), p["attention"]["out"]), p["norm1"])
    hidden = dense(before(x, p["norm2"]), p["mlp"]["fc1"])
    gelu = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2)))
    return after(x + dense(gelu, p["mlp"]["fc2"]), p["norm2"])


@pytest.mark.parametrize("post_norm", [False, True])
def test_a_block_computes_equations_1_to_5(post_norm):
    block = layers.EncoderBlock(**BLOCK, post_norm=post_norm)
    x = random(1, 5, 8)
    params = block.init(jax.random.key(1), x, None, deterministic=True)["params"]
    # Biases and scales start at 0 and 1; other values reveal a mix-up.
    params = jax.tree.map(lambda p: p + 0.1 * random(*p.shape, seed=2), params)
    y = block.apply({"params": params}, x, None, deterministic=True)
    expected = block_in_numpy(params, x[0], 2, post_norm)
    # float32 rounding over some dozen operations on values of order 1.
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=1e-5)


def test_a_masked_token_changes_no_other():
    block, x = layers.EncoderBlock(**BLOCK), random(1, 5, 8)
    lengths = jnp.array([3])
    mask = jnp.arange(5)[None] < 3
    variables = block.init(jax.random.key(1), x, lengths, deterministic=True)
    y = block.apply(variables, x, lengths, deterministic=True)
    changed = jnp.where(mask[..., None], x, 1e3)
    z = block.apply(variables, changed, lengths, deterministic=True)
    np.testing.assert_array_equal(y[mask], z[mask])


def test_an_entirely_masked_sequence_stays_finite():
    block, x = layers.EncoderBlock(**BLOCK), random(1, 5, 8)
    lengths = jnp.zeros(1, int)
    variables = block.init(jax.random.key(1), x, lengths, deterministic=True)
    assert jnp.isfinite(block.apply(variables, x, lengths, deterministic=True)).all()


def test_drop_path_drops_whole_samples_and_rescales_the_others():
    drop, x = layers.DropPath(0.25), jnp.ones((4000, 3, 2))
    assert (drop.apply({}, x, deterministic=True) == x).all()
    rngs = {"dropout": jax.random.key(0)}
    y = np.asarray(drop.apply({}, x, deterministic=False, rngs=rngs))
    kept = y[:, 0, 0] > 0
    assert (y[kept] == np.float32(1 / 0.75)).all() and (y[~kept] == 0).all()
    # Five standard deviations of a binomial proportion.
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)


def test_drop_path_draws_by_row_and_expression():
    drop, x = layers.DropPath(0.5), jnp.ones((64, 8, 3, 2))
    rngs = {"dropout": jax.random.key(0)}

    def kept(x, rows=None):
        y = drop.apply({}, x, rows, deterministic=False, rngs=rngs)
        return np.asarray(y)[..., 0, 0] > 0

    whole = kept(x)
    assert len(np.unique(whole, axis=0)) > 55  # of 64 rows with eight draws each
    np.testing.assert_array_equal(kept(x, jnp.arange(64)), whole)
    # Rows of a device or a part, in any order, drop the same as in the whole batch.
    some = np.random.default_rng(0).permutation(64)[:16]
    np.testing.assert_array_equal(kept(x[:16], jnp.asarray(some)), whole[some])


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_outside_the_unit_interval_is_refused(rate):
    with pytest.raises(ValueError, match=f"drop_path_rate is {rate}; .* below 1"):
        layers.DropPath(rate).apply({}, jnp.ones((1, 1, 1)), deterministic=True)


def test_shared_weights_are_one_block_applied_repeatedly():
    x = random(1, 5, 8)
    sizes = {"num_heads": 2, "mlp_dim": 12, "init_std": 0.3}
    encoder = layers.TransformerEncoder(num_layers=3, share_weights=True, **sizes)
    variables = encoder.init(jax.random.key(1), x, deterministic=True)
    assert set(variables["params"]) == {"block"}
    block = layers.EncoderBlock(**BLOCK)
    y = x
    for _ in range(3):
        own = {"params": variables["params"]["block"]}
        y = block.apply(own, y, None, deterministic=True)
    shared = encoder.apply(variables, x, deterministic=True)
    # The same operations, compiled as one program and as three.
    np.testing.assert_allclose(shared, y, rtol=0, atol=1e-6)


def test_a_width_not_divisible_by_the_heads_is_refused():
    block = layers.EncoderBlock(**(BLOCK | {"num_heads": 3}))
    with pytest.raises(ValueError, match="width of 8 cannot be split into 3"):
        block.init(jax.random.key(0), random(1, 5, 8), None, deterministic=True)


def test_l2_normalize_keeps_zero_with_a_finite_gradient():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(
        layers.l2_normalize(x), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6
    )
    assert jnp.isfinite(jax.grad(lambda x: layers.l2_normalize(x).sum())(x)).all()
