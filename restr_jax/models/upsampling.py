"""Bilinear upsampling with aligned corners, in the form that suits each device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from restr_jax.models.arithmetic import product_precision, sum_dtype

SLOPE = 0.01  # of the leaky ReLU where its input is negative


def aligned_matrix(
    in_size: int, out_size: int
) -> Float[np.ndarray, "out_size in_size"]:
    """Returns the matrix of 1-D linear interpolation with aligned corners.

    Each row sums to one and has at most two non-zero weights.
    """
    # Aligned corners: the first and the last output lie on the first and last input.
    positions = np.linspace(0.0, in_size - 1, out_size)
    low = np.minimum(np.floor(positions).astype(int), max(in_size - 2, 0))
    # An output at low + fraction takes 1 - fraction of one input, the rest of the next.
    fraction = (positions - low).astype(np.float32)
    matrix = np.zeros((out_size, in_size), np.float32)
    rows = np.arange(out_size)
    matrix[rows, low] += 1.0 - fraction
    matrix[rows, np.minimum(low + 1, in_size - 1)] += fraction
    return matrix


def upsample(
    x: Float[Array, "*b h w C"], factor: int
) -> Float[Array, "*b h_out w_out C"]:
    """Upsamples a map by any integer factor, with one matrix product per axis."""
    # Bilinear interpolation is separable: two 1-D interpolations, one after the other.
    rows, columns = (
        aligned_matrix(side, side * factor).astype(x.dtype) for side in x.shape[-3:-1]
    )
    product = functools.partial(jnp.einsum, precision=product_precision(x))
    x = product("Hh,...hwc->...Hwc", rows, x)
    return product("Ww,...hwc->...hWc", columns, x)


@jax.custom_vjp
def double_leaky(x: Float[Array, "*b h w C"]) -> Float[Array, "*b h_out w_out C"]:
    """Upsamples a map twofold and applies a leaky ReLU, the decoder's largest step.

    The step is memory-bound, so it makes one pass over the map, forward and backward.
    The gradient needs only the output, which the next linear map stores anyway. On a
    TPU, spatial neighbours lie in different tiles. There, products with mostly zero
    matrices move a third of the bytes that shifting does.
    """
    doubled = jax.lax.platform_dependent(x, tpu=_double_by_products, default=_double)
    return jnp.where(doubled >= 0, doubled, SLOPE * doubled)


def _double_leaky_forward(x):
    y = double_leaky(x)
    return y, y


def _double_leaky_backward(y, gradient):
    # The slope is positive, so the output has the sign of the leaky ReLU's input.
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
    # The gradient of a linear map is its transpose: the same matrices, other indices.
    rows, columns = (
        aligned_matrix(side // 2, side).astype(gradient.dtype)
        for side in gradient.shape[-3:-1]
    )
    product = functools.partial(jnp.einsum, precision=product_precision(gradient))
    gradient = product("Ww,...hWc->...hwc", columns, gradient)
    return product("Hh,...Hwc->...hwc", rows, gradient)


def _double(x):
    """Adds neighbours in float32, also for bfloat16, which costs no memory."""
    doubled = x.astype(sum_dtype(x))
    for axis in (x.ndim - 3, x.ndim - 2):
        doubled = _double_axis(doubled, axis)
    return doubled.astype(x.dtype)


def _undouble(gradient):
    x = gradient.astype(sum_dtype(gradient))
    # A transposed product reverses its factors, so the axes come in reverse order.
    for axis in (x.ndim - 2, x.ndim - 3):
        x = _undouble_axis(x, axis)
    return x.astype(gradient.dtype)


def _shares(x, axis: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of inputs k - 1 and k + 1 in outputs 2k and 2k + 1.

    With aligned corners, output o lies at o (n - 1) / (2n - 1).
    """
    # Output 2k lies k / (2n - 1) before input k, and output 2k + 1 lies
    # (n - 1 - k) / (2n - 1) after it; each distance is the neighbour's weight.
    k = np.arange(size, dtype=np.float32).reshape([-1] + [1] * (x.ndim - 1 - axis))
    return k / (2 * size - 1), (size - 1 - k) / (2 * size - 1)


def _double_axis(x, axis: int):
    size = x.shape[axis]
    from_before, from_after = _shares(x, axis, size)
    before = _shifted(x, axis, 1)
    after = _shifted(x, axis, -1)
    even = before * from_before + x * (1 - from_before)
    odd = after * from_after + x * (1 - from_after)
    # A new axis next to the old one interleaves both when they merge.
    both = jnp.stack([even, odd], axis + 1)
    return both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _undouble_axis(gradient, axis: int):
    """Applies the transpose of `_double_axis`."""
    size = gradient.shape[axis] // 2
    pairs = gradient.reshape(
        *gradient.shape[:axis], size, 2, *gradient.shape[axis + 1 :]
    )
    even, odd = (
        jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1)
    )
    from_before, from_after = _shares(even, axis, size)
    # Input k contributes to its own two outputs and to one of each neighbour's.
    own = even * (1 - from_before) + odd * (1 - from_after)
    # The weights at both ends are zero, so the values that wrap around are zero, too.
    return (
        own
        + _shifted(even * from_before, axis, -1)
        + _shifted(odd * from_after, axis, 1)
    )


def _shifted(x, axis: int, by: int):
    """Shifts a map by one position along an axis, with wrap-around."""
    size = x.shape[axis]
    cut = size - by if by > 0 else -by
    parts = (
        jax.lax.slice_in_dim(x, cut, size, axis=axis),
        jax.lax.slice_in_dim(x, 0, cut, axis=axis),
    )
    return jnp.concatenate(parts, axis)
