"""The type that sums are made in."""

import jax
import jax.numpy as jnp


def sum_dtype(x: jax.Array) -> jnp.dtype:
    """Returns float32, or the array's own type if that is wider."""
    return jnp.promote_types(x.dtype, jnp.float32)
