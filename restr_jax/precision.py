"""Floating-point types of the computation.

Parameters, their gradients, the optimizer, losses and metrics are always float32. With
bfloat16, the model receives bfloat16 copies of its parameters and input. It computes in
bfloat16, except for sums (of products, norms and the softmax) and its logits.
"""

from typing import Any

import jax
import jax.numpy as jnp

DTYPES = ("auto", "float32", "bfloat16")


def compute_dtype(name: str) -> jnp.dtype:
    """Returns the type that ``config.dtype`` selects on this machine's devices.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in DTYPES:
        raise ValueError(f"Unknown config.dtype {name!r}; it is one of {DTYPES}.")
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)


def cast(tree: Any, dtype: jnp.dtype) -> Any:
    """Returns a tree with its floating-point arrays cast to another type."""
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )
