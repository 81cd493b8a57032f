"""Keeps sums and products in bfloat16 and on accelerators as exact as on a CPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_dtype(x: jax.Array) -> jnp.dtype:
    """Returns float32, or the array's own type if that is wider."""
    return jnp.promote_types(x.dtype, jnp.float32)


def product_precision(x: jax.Array) -> jax.lax.Precision:
    """Returns the precision of a product with ``x``.

    By default, GPUs multiply float32 as TF32 and TPUs as bfloat16. A float32 model must
    compute in float32 on every device.
    """
    if x.dtype == jnp.float32:
        return jax.lax.Precision.HIGHEST
    # The exact product of two bfloat16 values fits float32.
    return jax.lax.Precision.DEFAULT


def share(x: Array, shape: tuple) -> Array:
    """Broadcasts an array to a shape; its gradient is summed in float32.

    The gradient of a broadcast sums over every position that shares the array, as over
    all tokens for the bias of a linear map. In bfloat16, such a sum stops growing after
    a few hundred terms, and not every compiler widens it.
    """
    # The array is widened first, so the gradient of the broadcast is wide, too.
    return jnp.broadcast_to(x.astype(sum_dtype(x)), shape).astype(x.dtype)
