"""Sums and products that are as exact in bfloat16 and on accelerators as on a CPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_dtype(x: jax.Array) -> jnp.dtype:
    """Returns float32, or the array's own type if that is wider."""
    return jnp.promote_types(x.dtype, jnp.float32)


def product_precision(x: jax.Array) -> jax.lax.Precision:
    """Returns the precision of a product with ``x``.

    By default GPUs multiply float32 as TF32 and TPUs as bfloat16. A model that computes
    in float32 is meant to compute in float32 everywhere.
    """
    if x.dtype == jnp.float32:
        return jax.lax.Precision.HIGHEST
    return jax.lax.Precision.DEFAULT


def share(x: Array, shape: tuple) -> Array:
    """Broadcasts an array to a shape; its gradient is summed in float32.

    The gradient of a broadcast is a sum over all that share the array, such as the
    bias of a linear map over all tokens. In bfloat16 such a sum stops growing at a few
    hundred terms, and not every compiler widens it.
    """
    return jnp.broadcast_to(x.astype(sum_dtype(x)), shape).astype(x.dtype)
