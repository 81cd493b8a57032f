"""Common parts of the layouts of ViT weights."""

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from restr_jax.models import strict
from restr_jax.pretrained.positions import Grid

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]

POSITIONS = "vision/positions"
CLASS_TOKEN = "vision/class_token"


class Source(NamedTuple):
    """Source of one of our parameters.

    Attributes:
        ours: its path within the vision encoder.
        theirs: names and shapes of its source arrays.
        convert: converts these arrays to the parameter.
    """

    ours: str
    theirs: dict[str, Shape]
    convert: Callable[..., np.ndarray]


class Layout(NamedTuple):
    """Third-party names for the weights of a ViT.

    Attributes:
        name: name on the command line.
        begins: prefixes of most array names.
        sources: lists every weight of a ViT, given arrays of its size.
        dropped: regular expressions of names that our model does not use, with a
            description.
        num_heads: returns the attention heads, or None if no shape shows them.
    """

    name: str
    begins: tuple[str, ...]
    sources: Callable[[Arrays], list[Source]]
    dropped: dict[str, str]
    num_heads: Callable[[Arrays], int | None] = lambda arrays: None


class Row(NamedTuple):
    """Conversion of one third-party array.

    Attributes:
        theirs: its name.
        shape: its shape.
        ours: path of the parameter that it becomes or is part of; "" if dropped.
        remark: the shape of our parameter, or the description of a dropped array.
    """

    theirs: str
    shape: Shape
    ours: str
    remark: str


class Converted(NamedTuple):
    """Third-party weights with this project's names.

    Attributes:
        arrays: float32 arrays by path.
        rows: the conversion, one row per third-party array.
        grid: grid of patches of the position table.
        num_heads: attention heads by part, as far as known.
    """

    arrays: dict[str, np.ndarray]
    rows: list[Row]
    grid: Grid
    num_heads: dict[str, int]


def convert(layout: Layout, arrays: Arrays, grid: Grid | None = None) -> Converted:
    """Converts the weights of a ViT of any size.

    Args:
        layout: layout of the arrays.
        arrays: arrays by name.
        grid: grid of the position table, if not square.

    Raises:
        ValueError: if arrays are missing, extra or of another shape; lists them all.
    """
    sources = layout.sources(arrays)
    dropped = {
        name: reason
        for pattern, reason in layout.dropped.items()
        for name in arrays
        if re.fullmatch(pattern, name)
    }
    strict.check(
        {name: tuple(x.shape) for name, x in arrays.items() if name not in dropped},
        {name: shape for source in sources for name, shape in source.theirs.items()},
        f"The file as a ViT in the {layout.name} layout",
        "Give the complete, unchanged file of a plain ViT.",
    )
    ours, rows = {}, []
    for source in sources:
        parts = [strict.as_float32(name, arrays[name]) for name in source.theirs]
        path = f"vision/{source.ours}"
        ours[path] = np.ascontiguousarray(source.convert(*parts))
        shape = show(ours[path].shape)
        rows += [Row(n, s, path, shape) for n, s in source.theirs.items()]
    rows += [
        Row(name, tuple(arrays[name].shape), "", reason)
        for name, reason in dropped.items()
    ]
    heads = layout.num_heads(arrays)
    return Converted(
        ours,
        rows,
        _grid(ours[POSITIONS].shape[1] - 1, grid),
        {} if heads is None else {"vision": heads},
    )


def show(shape: Shape) -> str:
    """Formats a shape."""
    return " x ".join(map(str, shape))


def _grid(num_patches: int, grid: Grid | None) -> Grid:
    if grid is None:
        grid = (math.isqrt(num_patches),) * 2
        remedy = "which is not a square number; set its grid with --source_grid"
    else:
        remedy = f"which are not {show(grid)}; set its grid with --source_grid"
    if grid[0] * grid[1] != num_patches:
        raise ValueError(f"The position table has {num_patches} patches, {remedy}.")
    return grid


def dimension(arrays: Arrays, name: str, rank: int, axis: int, usual: int) -> int:
    """Reads a size of the model from an array.

    If the array is missing or of another rank, the usual size is returned, so the check
    of all arrays can report the error.
    """
    shape = arrays[name].shape if name in arrays else ()
    return shape[axis] if len(shape) == rank else usual


def count_blocks(arrays: Arrays, start: str) -> int:
    """Counts distinct block numbers that follow a prefix of names."""
    pattern = re.compile(re.escape(start) + r"(\d+)[./]")
    return len({m.group(1) for m in map(pattern.match, arrays) if m})


def same(x: np.ndarray) -> np.ndarray:
    """Returns an array unchanged."""
    return x


def norm(ours: str, theirs: str, width: int, scale: str = "weight") -> list[Source]:
    """Lists the two arrays of a LayerNorm."""
    separator = "." if scale == "weight" else "/"
    return [
        Source(f"{ours}/scale", {f"{theirs}{separator}{scale}": (width,)}, same),
        Source(f"{ours}/bias", {f"{theirs}{separator}bias": (width,)}, same),
    ]


def torch_linear(ours: str, theirs: list[str], width: int, out: int) -> list[Source]:
    """Lists the arrays of PyTorch's linears, which our linear concatenates.

    Args:
        ours: path of our linear.
        theirs: names of their linears.
        width: number of inputs.
        out: number of outputs of each.
    """
    weights = {f"{name}.weight": (out, width) for name in theirs}
    biases = {f"{name}.bias": (out,) for name in theirs}
    return [
        Source(f"{ours}/kernel", weights, lambda *parts: np.concatenate(parts).T),
        Source(f"{ours}/bias", biases, lambda *parts: np.concatenate(parts)),
    ]


def torch_patches(theirs: str, width: int, size: int) -> list[Source]:
    """Lists the arrays of PyTorch's patch projection, a convolution."""
    kernel = {f"{theirs}.weight": (width, 3, size, size)}

    def convert_kernel(x: np.ndarray) -> np.ndarray:
        return x.transpose(2, 3, 1, 0).reshape(-1, width)

    return [
        Source("patch_embedding/kernel", kernel, convert_kernel),
        Source("patch_embedding/bias", {f"{theirs}.bias": (width,)}, same),
    ]
