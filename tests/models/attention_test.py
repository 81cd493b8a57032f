import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restr_jax.models import attention


def heads(*shape):
    keys = jax.random.split(jax.random.key(0), 3)
    return [2.0 * jax.random.normal(key, shape) for key in keys]


def defined(q, k, v, lengths):
    """Computes Eq. 3 in float64, token by token and head by head."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    output = np.zeros_like(q)
    for batch, row, head in np.ndindex(q.shape[:3]):
        upto = slice(None if lengths is None else int(lengths[batch]))
        scores = k[batch, upto, head] @ q[batch, row, head] / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max())
        output[batch, row, head] = weights @ v[batch, upto, head] / weights.sum()
    return output


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("width", [8, 25])
def test_attention_equals_its_definition(width, masked, recompute):
    q, k, v = heads(2, 6, 3, width)
    lengths = jnp.array([4, 6]) if masked else None
    ours = attention.attend(q, k, v, lengths, recompute=recompute)
    np.testing.assert_allclose(ours, defined(q, k, v, lengths), rtol=0, atol=3e-6)


def test_attention_weights_match_those_of_attention():
    q, k, v = heads(2, 6, 3, 8)
    lengths = jnp.array([4, 6])
    weights = attention.weights(q.swapaxes(1, 2), k.swapaxes(1, 2), lengths)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    by_weights = (weights @ v.swapaxes(1, 2)).swapaxes(1, 2)
    ours = attention.attend(q, k, v, lengths, recompute=False)
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


def test_attended_tokens_are_moved_to_the_front_and_back():
    mask = jnp.array([[False, True, False, True, True], [True] * 3 + [False] * 2])
    x = jnp.arange(10.0).reshape(2, 5, 1)
    order = attention.attended_first(mask)
    sorted_x = attention.reorder(order, x)
    assert sorted_x[..., 0].tolist() == [[1, 3, 4, 0, 2], [5, 6, 7, 8, 9]]
    back = attention.reorder(order.swapaxes(-1, -2), sorted_x)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize(
    ("dtype", "width", "takes"),
    [
        (jnp.bfloat16, 64, True),
        (jnp.bfloat16, 25, True),  # padded to 32
        (jnp.float32, 64, False),
        (jnp.bfloat16, 384, False),
    ],
)
def test_the_fused_kernel_gets_only_supported_inputs(dtype, width, takes):
    assert (
        attention._fused_takes(jax.ShapeDtypeStruct((2, 9, 2, width), dtype)) == takes
    )


@pytest.mark.parametrize("lengths", [None, (7, 20), (1, 21)])
@pytest.mark.parametrize(("tokens", "width"), [(20, 64), (21, 25)])
def test_padding_for_the_fused_kernel_changes_nothing(
    tokens, width, lengths, monkeypatch
):
    if lengths and max(lengths) > tokens:
        pytest.skip("More tokens than there are.")
    given = {}

    def as_xla(q, k, v, *, implementation, **options):
        given.update(q=q, implementation=implementation)
        return in_xla(q, k, v, implementation="xla", **options)

    in_xla = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", as_xla)
    q, k, v = heads(2, tokens, 3, width)
    lengths = None if lengths is None else jnp.array(lengths)
    ours = attention._attend_fused(q, k, v, lengths)
    np.testing.assert_allclose(ours, defined(q, k, v, lengths), rtol=0, atol=1e-5)
    # The kernel's inputs obey its rules.
    assert given["implementation"] == "cudnn"
    assert given["q"].shape[1] % 2 == 0 and given["q"].shape[-1] % 8 == 0

    def of_kernel(*x):
        return (attention._attend_fused(*x, lengths) ** 2).sum()

    def of_products(*x):
        return (attention._attend_xla(*x, lengths) ** 2).sum()

    gradients = (
        jax.grad(f, argnums=(0, 1, 2))(q, k, v) for f in (of_kernel, of_products)
    )
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("cuDNN is not detected."), "cuDNN is not detected."),
        (NotImplementedError("no lowering for platform rocm"), "platform rocm"),
        (ValueError("No valid engine configs\nfor compute capability 7.5"), "engine"),
    ],
)
def test_a_gpu_without_the_fused_kernel_is_logged_once(
    error, reason, monkeypatch, caplog
):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", refuse)
    attention.fused_kernel_works.cache_clear()
    try:
        q, k, v = (x.astype(jnp.bfloat16) for x in heads(2, 6, 3, 8))
        for _ in range(2):
            # The first call happens while a program is traced.
            output = jax.jit(
                lambda q, k, v: attention.attend(q, k, v, None, recompute=False)
            )(q, k, v)
        expected = defined(*(x.astype(jnp.float32) for x in (q, k, v)), None)
        np.testing.assert_allclose(output.astype(jnp.float32), expected, atol=0.05)
    finally:
        attention.fused_kernel_works.cache_clear()
    (record,) = caplog.records
    assert reason in record.getMessage()


def test_the_fused_kernel_is_not_tried_on_a_cpu(caplog):
    attention.fused_kernel_works.cache_clear()
    assert attention.fused_kernel_works() is False
    assert not caplog.records


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("lengths", [None, (7, 20)])
@pytest.mark.parametrize("width", [25, 64])
def test_cudnn_equals_xla(width, lengths):
    q, k, v = (x.astype(jnp.bfloat16) for x in heads(2, 20, 3, width))
    lengths = None if lengths is None else jnp.array(lengths)
    ours = attention._attend_fused(q, k, v, lengths).astype(jnp.float32)
    theirs = attention._attend_xla(q, k, v, lengths)
    np.testing.assert_allclose(ours, theirs.astype(jnp.float32), rtol=0, atol=0.05)
