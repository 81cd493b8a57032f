"""Bilinear enlargement with the corners aligned, in the form that suits each device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from restr_jax.models.arithmetic import product_precision, sum_dtype

SLOPE = 0.01  # of the leaky ReLU where its input is negative


def interpolation_matrix(
    in_size: int, out_size: int
) -> Float[np.ndarray, "out_size in_size"]:
    """Returns the matrix of 1-D linear interpolation with the corners aligned.

    Each row sums to one and holds at most two weights.
    """
    positions = np.linspace(0.0, in_size - 1, out_size)
    low = np.minimum(np.floor(positions).astype(int), max(in_size - 2, 0))
    fraction = (positions - low).astype(np.float32)
    matrix = np.zeros((out_size, in_size), np.float32)
    rows = np.arange(out_size)
    matrix[rows, low] += 1.0 - fraction
    matrix[rows, np.minimum(low + 1, in_size - 1)] += fraction
    return matrix


def upsample(
    x: Float[Array, "*b h w C"], factor: int
) -> Float[Array, "*b h_out w_out C"]:
    """Enlarges a map by any factor: a product with a matrix for each axis."""
    rows, columns = (
        interpolation_matrix(side, side * factor).astype(x.dtype)
        for side in x.shape[-3:-1]
    )
    product = functools.partial(jnp.einsum, precision=product_precision(x))
    x = product("Hh,...hwc->...Hwc", rows, x)
    return product("Ww,...hwc->...hWc", columns, x)


@jax.custom_vjp
def double_leaky(x: Float[Array, "*b h w C"]) -> Float[Array, "*b h_out w_out C"]:
    """Returns the leaky ReLU of a map enlarged twofold, the decoder's largest step.

    It is bound by memory, so it is one pass over it, forward and back, and the gradient
    needs nothing but the output, which the linear map behind it keeps anyway. On a TPU
    neighbours in space lie in other tiles: there, products with matrices, mostly zeros,
    move a third of the bytes that shifting does.
    """
    doubled = jax.lax.platform_dependent(x, tpu=_double_by_products, default=_double)
    return jnp.where(doubled >= 0, doubled, SLOPE * doubled)


def _double_leaky_forward(x):
    y = double_leaky(x)
    return y, y


def _double_leaky_backward(y, gradient):
    gradient = jnp.where(y >= 0, gradient, SLOPE * gradient)
    return (
        jax.lax.platform_dependent(
            gradient, tpu=_undouble_by_products, default=_undouble
        ),
    )


double_leaky.defvjp(_double_leaky_forward, _double_leaky_backward)


def _double_by_products(x):
    return upsample(x, 2)


def _undouble_by_products(gradient):
    rows, columns = (
        interpolation_matrix(side // 2, side).astype(gradient.dtype)
        for side in gradient.shape[-3:-1]
    )
    product = functools.partial(jnp.einsum, precision=product_precision(gradient))
    gradient = product("Ww,...hWc->...hwc", columns, gradient)
    return product("Hh,...Hwc->...hwc", rows, gradient)


def _double(x):
    """Adds neighbours up, in float32 also for bfloat16, which costs no memory."""
    doubled = x.astype(sum_dtype(x))
    for axis in (x.ndim - 3, x.ndim - 2):
        doubled = _double_axis(doubled, axis)
    return doubled.astype(x.dtype)


def _undouble(gradient):
    x = gradient.astype(sum_dtype(gradient))
    for axis in (x.ndim - 2, x.ndim - 3):
        x = _undouble_axis(x, axis)
    return x.astype(gradient.dtype)


def _shares(x, axis: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what outputs 2k and 2k + 1 take from inputs k - 1 and k + 1.

    With the corners aligned, output o lies at o (n - 1) / (2n - 1).
    """
    k = np.arange(size, dtype=np.float32).reshape([-1] + [1] * (x.ndim - 1 - axis))
    return k / (2 * size - 1), (size - 1 - k) / (2 * size - 1)


def _double_axis(x, axis: int):
    size = x.shape[axis]
    from_before, from_after = _shares(x, axis, size)
    before = _shifted(x, axis, 1)
    after = _shifted(x, axis, -1)
    even = before * from_before + x * (1 - from_before)
    odd = after * from_after + x * (1 - from_after)
    both = jnp.stack([even, odd], axis + 1)
    return both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _undouble_axis(gradient, axis: int):
    """The transpose of `_double_axis`."""
    size = gradient.shape[axis] // 2
    pairs = gradient.reshape(
        *gradient.shape[:axis], size, 2, *gradient.shape[axis + 1 :]
    )
    even, odd = (
        jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1)
    )
    from_before, from_after = _shares(even, axis, size)
    own = even * (1 - from_before) + odd * (1 - from_after)
    # The shares at either end are zero, so what is shifted in there is, too.
    return (
        own
        + _shifted(even * from_before, axis, -1)
        + _shifted(odd * from_after, axis, 1)
    )


def _shifted(x, axis: int, by: int):
    """Moves a map by one place along an axis; what has left comes in again."""
    size = x.shape[axis]
    cut = size - by if by > 0 else -by
    parts = (
        jax.lax.slice_in_dim(x, cut, size, axis=axis),
        jax.lax.slice_in_dim(x, 0, cut, axis=axis),
    )
    return jnp.concatenate(parts, axis)
