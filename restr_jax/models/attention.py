"""Scaled dot-product attention (Eq. 3), in the form that suits each device.

Tokens that are not attended to (padding) come last: a number per row marks them.
Fused kernels take such a number for free. A mask would cost them a bias of T^2 values,
and that bias a gradient which nobody needs.
"""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.arithmetic import product_precision, sum_dtype

logger = logging.getLogger(__name__)

# cuDNN's kernel takes heads of a multiple of 8, up to 128. In training, JAX calls it
# for an even number of tokens only.
_FUSED_WIDTH, _FUSED_WIDEST, _FUSED_LENGTH = 8, 128, 2


def attended_first(mask: Bool[Array, "*b T"]) -> Bool[Array, "*b T T"]:
    """Returns the permutation that puts tokens to attend to first, in their order.

    Of padding on the right it is the identity.

    Args:
        mask: true at the tokens to attend to.

    Returns:
        A matrix, true where a token (column) goes to a place (row).
    """
    here, other = mask[..., None], mask[..., None, :]
    earlier = jnp.arange(mask.shape[-1]) < jnp.arange(mask.shape[-1])[:, None]
    place = ((other & ~here) | ((other == here) & earlier)).sum(-1)
    return place[..., None, :] == jnp.arange(mask.shape[-1])[:, None]


def reorder(
    order: Bool[Array, "*b T T"], x: Float[Array, "*b T C"]
) -> Float[Array, "*b T C"]:
    """Moves tokens as a permutation says; with its transpose, back.

    A sum of one term and zeros: exact in any type, as a matrix product is not, and
    known to every compiler and exporter, as a gather is not.
    """
    wide = x.astype(sum_dtype(x))[..., None, :, :]
    return (order[..., None].astype(wide.dtype) * wide).sum(-2).astype(x.dtype)


def weights(
    q_MTd: Float[Array, "*b M T d"],
    k_MTd: Float[Array, "*b M T d"],
    lengths: Int[Array, "*b"] | None,
) -> Float[Array, "*b M T T"]:
    """Returns how much each token (row) attends to each token (column), float32."""
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

    On an NVIDIA GPU, cuDNN's fused kernel where it takes the type and width; elsewhere
    two products that XLA fuses the softmax into.

    Args:
        q_TMd: queries.
        k_TMd: keys.
        v_TMd: values.
        lengths: number of tokens to attend to, at least 1; None: all.
        recompute: compute the weights again for the gradient instead of keeping them;
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
    q_MTd = q_MTd * jnp.asarray(q_MTd.shape[-1] ** -0.5, q_MTd.dtype)
    logits_MTT = jnp.matmul(
        q_MTd,
        k_MTd.swapaxes(-1, -2),
        precision=product_precision(q_MTd),
        preferred_element_type=sum_dtype(q_MTd),
    )
    if lengths is None:
        return logits_MTT
    attended = jnp.arange(k_MTd.shape[-2]) < lengths[..., None, None, None]
    # A finite floor: a row that attends to nothing stays free of NaN.
    return jnp.where(attended, logits_MTT, jnp.finfo(logits_MTT.dtype).min)


def _attend_xla(q_TMd, k_TMd, v_TMd, lengths):
    """Divides by the softmax's sum last, where there are T / d times fewer values."""
    # Heads in front of tokens, so that each product is a plain batched one.
    q_MTd, k_MTd, v_MTd = (x.swapaxes(-3, -2) for x in (q_TMd, k_TMd, v_TMd))
    logits_MTT = _logits(q_MTd, k_MTd, lengths)
    top = jax.lax.stop_gradient(logits_MTT.max(-1, keepdims=True))
    unscaled_MTT = jnp.exp(logits_MTT - top)
    total = unscaled_MTT.sum(-1, keepdims=True)
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
    """Pads tokens and heads with zeros, which change nothing, to what cuDNN takes.

    In ReSTR, 901 patches with a class token and 21 tokens around the class seed are odd
    numbers, and the language encoder's heads are 25 wide.
    """
    *batch, length, heads, width = q_TMd.shape
    more_tokens = -length % _FUSED_LENGTH
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
        scale=width**-0.5,
        implementation="cudnn",
    )
    return output[:, :length, :, :width].reshape(q_TMd.shape)


@functools.cache
def fused_kernel_works() -> bool:
    """Runs cuDNN's kernel once, forward and backward, where there is a GPU.

    A compute capability below 8.0, a cuDNN that is missing or too old, and a GPU of
    another maker than NVIDIA lack the kernel; this is logged once.
    """
    if jax.default_backend() != "gpu":
        return False

    def total(q_TMd, k_TMd, v_TMd, lengths):
        return _attend_fused(q_TMd, k_TMd, v_TMd, lengths).sum()

    # The hardest shapes to take: odd, narrow, few tokens, some not attended to.
    heads = np.ones((2, 21, 2, 25), jnp.bfloat16)
    inputs = heads, heads, heads, np.array([1, 21], np.int32)
    try:
        # Compiled ahead, since a model may be being traced around this.
        run = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*inputs).compile()
        jax.block_until_ready(run(*inputs))
    except Exception as error:  # Each reason has its own kind, some of them XLA's.
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        logger.warning(
            "this GPU does not run cuDNN's fused attention (%s); XLA's products take "
            "its place, with more memory and time",
            reason,
        )
        return False
    return True
