"""Scaled dot-product attention (Eq. 3), in the form that suits each device.

Padding, which is never attended to, comes last, so one length per row marks it. Fused
kernels accept a length at no cost. A mask would need a bias of T^2 values and an unused
gradient of that bias.
"""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from restr_jax.files import first_line
from restr_jax.models.arithmetic import product_precision, sum_dtype

logger = logging.getLogger(__name__)

# cuDNN's kernel requires a head width that is a multiple of 8 and at most 128. In
# training, JAX calls it only for an even number of tokens.
_FUSED_WIDTH, _FUSED_WIDEST, _FUSED_LENGTH = 8, 128, 2


def attended_first(mask: Bool[Array, "*b T"]) -> Bool[Array, "*b T T"]:
    """Returns the permutation that moves attended tokens to the front, in order.

    For padding on the right, it is the identity.

    Args:
        mask: true at the tokens to attend to.

    Returns:
        A matrix, true where a token (column) moves to a position (row).
    """
    # A token's new position is the number of tokens that come before it: attended ones
    # before padding, and earlier ones of the same kind.
    here, other = mask[..., None], mask[..., None, :]
    earlier = jnp.arange(mask.shape[-1]) < jnp.arange(mask.shape[-1])[:, None]
    place = ((other & ~here) | ((other == here) & earlier)).sum(-1)
    return place[..., None, :] == jnp.arange(mask.shape[-1])[:, None]


def reorder(
    order: Bool[Array, "*b T T"], x: Float[Array, "*b T C"]
) -> Float[Array, "*b T C"]:
    """Permutes tokens; the transposed permutation restores their order.

    Each output is a sum of one term and zeros. That is exact in any type, unlike a
    matrix product, and every compiler and exporter supports it, unlike a gather.
    """
    wide = x.astype(sum_dtype(x))[..., None, :, :]
    return (order[..., None].astype(wide.dtype) * wide).sum(-2).astype(x.dtype)


def weights(
    q_MTd: Float[Array, "*b M T d"],
    k_MTd: Float[Array, "*b M T d"],
    lengths: Int[Array, "*b"] | None,
) -> Float[Array, "*b M T T"]:
    """Returns the attention of each token (row) to each token (column), float32."""
    # Eq. 3 without v: softmax(q k^T / sqrt(d)).
    return jax.nn.softmax(_logits(q_MTd, k_MTd, lengths))


def attend(
    q_TMd: Float[Array, "*b T M d"],
    k_TMd: Float[Array, "*b T M d"],
    v_TMd: Float[Array, "*b T M d"],
    lengths: Int[Array, "*b"] | None,
    *,
    recompute: bool,
) -> Float[Array, "*b T M d"]:
    """Attends over the first tokens of each row.

    An NVIDIA GPU runs cuDNN's fused kernel if it supports the type and width. All other
    cases run two products, into which XLA fuses the softmax.

    Args:
        q_TMd: queries.
        k_TMd: keys.
        v_TMd: values.
        lengths: number of tokens to attend to, at least 1; None: all.
        recompute: recompute the weights for the gradient instead of storing them;
            cuDNN always does.
    """
    attend_xla = jax.checkpoint(_attend_xla) if recompute else _attend_xla
    inputs = q_TMd, k_TMd, v_TMd, lengths
    if _fused_takes(q_TMd) and fused_kernel_works():
        return jax.lax.platform_dependent(
            *inputs, cuda=_attend_fused, default=attend_xla
        )
    return attend_xla(*inputs)


def _logits(q_MTd, k_MTd, lengths):
    # Eq. 3: q k^T / sqrt(d). Scaling q first costs T d products per head, not T^2.
    q_MTd = q_MTd * jnp.asarray(q_MTd.shape[-1] ** -0.5, q_MTd.dtype)
    logits_MTT = jnp.matmul(
        q_MTd,
        k_MTd.swapaxes(-1, -2),
        precision=product_precision(q_MTd),
        # The softmax's exponents stay in float32, also for bfloat16 tokens.
        preferred_element_type=sum_dtype(q_MTd),
    )
    if lengths is None:
        return logits_MTT
    # Every head and every query of a row sees the same keys.
    attended = jnp.arange(k_MTd.shape[-2]) < lengths[..., None, None, None]
    # The floor is finite: with -inf, a row that attends to nothing would become NaN.
    return jnp.where(attended, logits_MTT, jnp.finfo(logits_MTT.dtype).min)


def _attend_xla(q_TMd, k_TMd, v_TMd, lengths):
    """Divides by the softmax's sum last, where there are T / d times fewer values."""
    # With heads in front of tokens, each product is a plain batched one.
    q_MTd, k_MTd, v_MTd = (x.swapaxes(-3, -2) for x in (q_TMd, k_TMd, v_TMd))
    logits_MTT = _logits(q_MTd, k_MTd, lengths)
    # The shift prevents overflow in exp and cancels in the softmax, so its gradient is
    # zero and is not computed.
    top = jax.lax.stop_gradient(logits_MTT.max(-1, keepdims=True))
    unscaled_MTT = jnp.exp(logits_MTT - top)
    total = unscaled_MTT.sum(-1, keepdims=True)
    # Eq. 3: softmax(q k^T / sqrt(d)) v, with the softmax's division moved behind v.
    heads_MTd = jnp.matmul(
        unscaled_MTT.astype(v_MTd.dtype),
        v_MTd,
        precision=product_precision(v_MTd),
        preferred_element_type=sum_dtype(v_MTd),
    )
    return (heads_MTd / total).astype(v_MTd.dtype).swapaxes(-3, -2)


def _fused_takes(q_TMd) -> bool:
    return q_TMd.dtype == jnp.bfloat16 and q_TMd.shape[-1] <= _FUSED_WIDEST


def _attend_fused(q_TMd, k_TMd, v_TMd, lengths):
    """Pads tokens and heads with zeros to sizes that cuDNN supports.

    The zeros do not change the result. In ReSTR, 901 tokens (patches and a class token)
    and 21 tokens (words and the class seed) are odd numbers. The language encoder's
    heads are 25 wide.
    """
    *batch, length, heads, width = q_TMd.shape
    more_tokens = -length % _FUSED_LENGTH
    # A padded token is a key as well; without a length it would be attended to.
    if more_tokens and lengths is None:
        lengths = jnp.full(batch, length, jnp.int32)
    padding = [(0, 0), (0, more_tokens), (0, 0), (0, -width % _FUSED_WIDTH)]
    folded = (
        jnp.pad(x.reshape(-1, length, heads, width), padding)
        for x in (q_TMd, k_TMd, v_TMd)
    )
    output = jax.nn.dot_product_attention(
        *folded,
        key_value_seq_lengths=None
        if lengths is None
        else lengths.reshape(-1).astype(jnp.int32),
        # The width before padding: zeros in a head add nothing to q k^T.
        scale=width**-0.5,
        implementation="cudnn",
    )
    return output[:, :length, :, :width].reshape(q_TMd.shape)


@functools.cache
def fused_kernel_works() -> bool:
    """Tests cuDNN's kernel once, forward and backward, on a GPU.

    The kernel is unavailable below compute capability 8.0, with a missing or outdated
    cuDNN, and on GPUs of other vendors than NVIDIA. The failure is logged once.
    """
    if jax.default_backend() != "gpu":
        return False

    def total(q_TMd, k_TMd, v_TMd, lengths):
        return _attend_fused(q_TMd, k_TMd, v_TMd, lengths).sum()

    # The most demanding shapes: odd, narrow, few tokens, some not attended to.
    heads = np.ones((2, 21, 2, 25), jnp.bfloat16)
    inputs = heads, heads, heads, np.array([1, 21], np.int32)
    try:
        # Compiled ahead of time, since this may run while a model is being traced.
        run = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*inputs).compile()
        jax.block_until_ready(run(*inputs))
    except Exception as error:  # Each cause has its own type, some of them XLA's.
        logger.warning(
            "cuDNN's fused attention is unavailable on this GPU (%s); falling back to "
            "XLA, which needs more memory and time",
            first_line(error, 200),
        )
        return False
    return True
