"""Resizes tables of patch positions to other grids of patches."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Grid = tuple[int, int]  # rows, columns of patches

_CUBIC_A = -0.75  # as in PyTorch; others use -0.5


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - distance, 0.0)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Returns the kernel of Keys's cubic convolution."""
    d, a = distance, _CUBIC_A
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    return np.where(d <= 1.0, near, np.where(d < 2.0, far, 0.0))


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bilinear": _linear,
    "bicubic": _cubic,
}


def interpolation_matrix(
    in_size: int, out_size: int, method: str
) -> Float[np.ndarray, "out_size in_size"]:
    """Returns the matrix of 1-D interpolation between pixel centres.

    Values beyond the first and last centre repeat the border. There is no anti-aliasing
    when downsampling.

    Args:
        in_size: number of input values.
        out_size: number of output values.
        method: one of `METHODS`.
    """
    centres = (np.arange(out_size) + 0.5) * in_size / out_size - 0.5
    matrix = np.zeros((out_size, in_size))
    for step in (-1, 0, 1, 2):
        neighbours = np.floor(centres).astype(int) + step
        weights = METHODS[method](np.abs(centres - neighbours))
        inside = neighbours.clip(0, in_size - 1)
        np.add.at(matrix, (np.arange(out_size), inside), weights)
    return matrix


def resize(
    table: Float[np.ndarray, "1 T_old D"], old: Grid, new: Grid, method: str
) -> Float[np.ndarray, "1 T_new D"]:
    """Resizes a position table; rows before those of the patches stay unchanged.

    Args:
        table: rows of other tokens, such as the class token, then one row per patch.
        old: grid of the table.
        new: grid of the result.
        method: "bilinear", or "bicubic" with a = -0.75; both as in PyTorch.
    """
    if old == new:
        return table
    tokens, patches = np.split(table, [table.shape[1] - old[0] * old[1]], axis=1)
    rows = interpolation_matrix(old[0], new[0], method)
    columns = interpolation_matrix(old[1], new[1], method)
    grid = patches.reshape(*old, -1)
    resized = np.einsum("Hh,Ww,hwd->HWd", rows, columns, grid, optimize=True)
    resized = resized.reshape(1, -1, table.shape[-1]).astype(table.dtype)
    return np.concatenate([tokens, resized], axis=1)
