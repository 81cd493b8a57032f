"""Position tables: sinusoidal ones, and learned ones resized to another grid."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

Grid = tuple[int, int]  # rows, columns of patches

_CUBIC_A = -0.75  # as in PyTorch; others use -0.5


def sinusoidal_positions(length: int, width: int) -> Float[np.ndarray, "T D"]:
    """Returns the position table of "Attention Is All You Need".

    Column 2i is sin(p / 10000^(2i / D)) and column 2i + 1 the cosine of the same.

    Args:
        length: T, number of positions.
        width: D, even.

    Raises:
        ValueError: if the width is odd.
    """
    if width % 2:
        raise ValueError(f"Sinusoidal positions need an even width, not {width}.")
    # Wavelengths grow geometrically from 2 pi towards 10000 * 2 pi.
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    # Interleaved: sine and cosine of one angle are neighbours.
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return table.reshape(length, width).astype(np.float32)


def sinusoidal_grid(height: int, width: int, dim: int) -> Float[np.ndarray, "N D"]:
    """Returns sinusoidal positions of a grid; one half of D encodes the row."""
    # The first half of a vector encodes its row, the second half its column.
    rows = sinusoidal_positions(height, dim // 2)
    columns = sinusoidal_positions(width, dim // 2)
    grid = [
        np.repeat(rows, width, axis=0),
        np.tile(columns, (height, 1)),
    ]
    return np.concatenate(grid, axis=-1)


def resize_grid(
    table: Float[Array, "1 N_old D"], old: Grid, new: Grid
) -> Float[Array, "1 N_new D"]:
    """Resizes patch positions in the model, bilinearly, with half-pixel centres.

    `resize_table` does the same when weights are loaded, in float64.

    Args:
        table: one row per patch, without the class token's.
        old: grid of the table.
        new: grid of the result.
    """
    width = table.shape[-1]
    grid = table.reshape(1, *old, width)
    # Without anti-aliasing, as in the released program.
    resized = jax.image.resize(grid, (1, *new, width), "linear", antialias=False)
    return resized.reshape(1, -1, width)


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


def half_pixel_matrix(
    in_size: int, out_size: int, method: str
) -> Float[np.ndarray, "out_size in_size"]:
    """Returns the matrix of 1-D interpolation between pixel centres.

    Values beyond the first and last centre repeat the border. There is no anti-aliasing
    when downsampling. `upsampling.aligned_matrix` aligns corners instead.

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


def resize_table(
    table: Float[np.ndarray, "1 T_old D"], old: Grid, new: Grid, method: str
) -> Float[np.ndarray, "1 T_new D"]:
    """Resizes a loaded position table; rows before those of patches stay unchanged.

    Args:
        table: rows of other tokens, such as the class token, then one row per patch.
        old: grid of the table.
        new: grid of the result.
        method: "bilinear", or "bicubic" with a = -0.75; both as in PyTorch.
    """
    if old == new:
        return table
    tokens, patches = np.split(table, [table.shape[1] - old[0] * old[1]], axis=1)
    rows = half_pixel_matrix(old[0], new[0], method)
    columns = half_pixel_matrix(old[1], new[1], method)
    grid = patches.reshape(*old, -1)
    resized = np.einsum("Hh,Ww,hwd->HWd", rows, columns, grid, optimize=True)
    resized = resized.reshape(1, -1, table.shape[-1]).astype(table.dtype)
    return np.concatenate([tokens, resized], axis=1)
