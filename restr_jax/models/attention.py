"""Scaled dot-product attention (Eq. 3), in the form that suits each device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from restr_jax.models.sums import sum_dtype

# What cuDNN's kernel asks for.
_CUDNN_DTYPES = (jnp.bfloat16, jnp.float16)
_CUDNN_MULTIPLE, _CUDNN_WIDEST = 8, 128


def weights(
    q_MTd: Float[Array, "*b M T d"],
    k_MTd: Float[Array, "*b M T d"],
    mask: Bool[Array, "*b T"] | None,
) -> Float[Array, "*b M T T"]:
    """Returns how much each token (row) attends to each token (column), float32."""
    return jax.nn.softmax(_logits(q_MTd, k_MTd, mask))


def attend(
    q_TMd: Float[Array, "*b T M d"],
    k_TMd: Float[Array, "*b T M d"],
    v_TMd: Float[Array, "*b T M d"],
    mask: Bool[Array, "*b T"] | None,
    *,
    recompute: bool,
) -> Float[Array, "*b T M d"]:
    """Attends over all tokens whose mask is true (all tokens without a mask).

    On an NVIDIA GPU, cuDNN's fused kernel where it takes the shapes; elsewhere two
    products that XLA fuses the softmax into.

    Args:
        q_TMd: queries.
        k_TMd: keys.
        v_TMd: values.
        mask: which tokens to attend to.
        recompute: compute the weights again for the gradient instead of keeping them;
            cuDNN always does.
    """
    if jax.default_backend() == "gpu" and _cudnn_takes(q_TMd, mask):
        return _attend_cudnn(q_TMd, k_TMd, v_TMd, mask)
    # Heads in front of tokens, so that each product is a plain batched one.
    q_MTd, k_MTd, v_MTd = (x.swapaxes(-3, -2) for x in (q_TMd, k_TMd, v_TMd))
    attend_xla = jax.checkpoint(_attend_xla) if recompute else _attend_xla
    return attend_xla(q_MTd, k_MTd, v_MTd, mask).swapaxes(-3, -2)


def _logits(q_MTd, k_MTd, mask):
    q_MTd = q_MTd * jnp.asarray(q_MTd.shape[-1] ** -0.5, q_MTd.dtype)
    logits_MTT = jnp.matmul(
        q_MTd, k_MTd.swapaxes(-1, -2), preferred_element_type=sum_dtype(q_MTd)
    )
    if mask is None:
        return logits_MTT
    # A finite floor: a row whose words are all masked stays free of NaN.
    floor = jnp.finfo(logits_MTT.dtype).min
    return jnp.where(mask[..., None, None, :], logits_MTT, floor)


def _attend_xla(q_MTd, k_MTd, v_MTd, mask):
    """Divides by the softmax's sum last, where there are T / d times fewer values."""
    logits_MTT = _logits(q_MTd, k_MTd, mask)
    top = jax.lax.stop_gradient(logits_MTT.max(-1, keepdims=True))
    unscaled_MTT = jnp.exp(logits_MTT - top)
    total = unscaled_MTT.sum(-1, keepdims=True)
    heads_MTd = jnp.matmul(
        unscaled_MTT.astype(v_MTd.dtype), v_MTd, preferred_element_type=sum_dtype(v_MTd)
    )
    return (heads_MTd / total).astype(v_MTd.dtype)


def _cudnn_takes(q_TMd, mask) -> bool:
    length, _, width = q_TMd.shape[-3:]
    return (
        q_TMd.dtype in _CUDNN_DTYPES
        and width <= _CUDNN_WIDEST
        and (mask is None or length % 2 == 0)
    )


def _attend_cudnn(q_TMd, k_TMd, v_TMd, mask):
    """Pads heads (25 wide in the language encoder) with zeros, which change nothing."""
    *batch, length, heads, width = q_TMd.shape
    padding = [(0, 0)] * 3 + [(0, -width % _CUDNN_MULTIPLE)]
    folded = (
        jnp.pad(x.reshape(-1, length, heads, width), padding)
        for x in (q_TMd, k_TMd, v_TMd)
    )
    if mask is not None:
        mask = mask.reshape(-1, 1, 1, length)
    output = jax.nn.dot_product_attention(
        *folded, mask=mask, scale=width**-0.5, implementation="cudnn"
    )
    return output[..., :width].reshape(*batch, length, heads, width)
