"""Conversion of a ViT's weights from any layout."""

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from restr_jax.models import strict
from restr_jax.models.positions import Grid
from restr_jax.pretrained import layout as tables
from restr_jax.pretrained.layout import Arrays, Row, Shape

POSITIONS = "vision/positions"
CLASS_TOKEN = "vision/class_token"


class Names(NamedTuple):
    """Third-party names of a ViT's weights.

    Attributes:
        outside: the weights outside of the blocks; paths are within the encoder.
        stack: the names in a block start with this and the block's number.
        block: the weights of a block.
        separator: the character behind the number.
    """

    outside: list[Row]
    stack: str
    block: list[Row]
    separator: str = "."


class Layout(NamedTuple):
    """A third-party layout of the weights of a ViT.

    Attributes:
        name: name on the command line.
        begins: prefixes of most array names.
        names: returns the names of the weights, given the arrays.
        dropped: regular expressions of names that our model does not use, with a
            description.
        num_heads: returns the attention heads, or None if no shape shows them.
    """

    name: str
    begins: tuple[str, ...]
    names: Callable[[Arrays], Names]
    dropped: dict[str, str]
    num_heads: Callable[[Arrays], int | None] = lambda arrays: None


class Line(NamedTuple):
    """Conversion of one third-party array, for a report.

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
        rows: the conversion, one line per third-party array.
        grid: grid of patches of the position table.
        num_heads: attention heads by part, as far as known.
    """

    arrays: dict[str, np.ndarray]
    rows: list[Line]
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
    names = layout.names(arrays)
    num_blocks = _count_blocks(arrays, names.stack)
    rows = _rows(names, num_blocks)
    dropped = {
        name: reason
        for pattern, reason in layout.dropped.items()
        for name in arrays
        if re.fullmatch(pattern, name)
    }
    strict.check(
        {name: tuple(x.shape) for name, x in arrays.items() if name not in dropped},
        tables.expected(rows, _shapes(rows, num_blocks, arrays)),
        f"The file as a ViT in the {layout.name} layout",
        "Give the complete, unchanged file of a plain ViT.",
    )
    ours = {
        path: np.ascontiguousarray(x)
        for path, x in tables.to_ours(rows, arrays).items()
    }
    heads = layout.num_heads(arrays)
    return Converted(
        ours,
        report(rows, dropped, arrays, ours),
        _grid(ours[POSITIONS].shape[1] - 1, grid),
        {} if heads is None else {"vision": heads},
    )


def report(
    rows: Iterable[Row], dropped: dict[str, str], theirs: Arrays, ours: Arrays
) -> list[Line]:
    """Returns the line of each array.

    Args:
        rows: the rows of the converted arrays.
        dropped: a description of each other array.
        theirs: all arrays by name.
        ours: the parameters by path.
    """

    def line(name: str, path: str, remark: str) -> Line:
        return Line(name, tuple(theirs[name].shape), path, remark)

    lines = [line(n, r.ours, show(ours[r.ours].shape)) for r in rows for n in r.theirs]
    return lines + [line(name, "", reason) for name, reason in dropped.items()]


def show(shape: Shape) -> str:
    """Formats a shape."""
    return " x ".join(map(str, shape))


def dimension(arrays: Arrays, name: str, rank: int, axis: int, usual: int) -> int:
    """Reads a size of the model from an array.

    If the array is missing or of another rank, the usual size is returned, so the check
    of all arrays can report the error.
    """
    shape = arrays[name].shape if name in arrays else ()
    return shape[axis] if len(shape) == rank else usual


def _count_blocks(arrays: Arrays, start: str) -> int:
    """Counts distinct block numbers that follow a prefix of names."""
    pattern = re.compile(re.escape(start) + r"(\d+)[./]")
    return len({m.group(1) for m in map(pattern.match, arrays) if m})


def _rows(names: Names, num_blocks: int) -> list[Row]:
    """Returns the rows of all weights."""
    rows = list(names.outside)
    for i in range(num_blocks):
        start = f"{names.stack}{i}{names.separator}"
        rows += [row.within(f"encoder/block_{i}/", start) for row in names.block]
    return [row.within("vision/", "") for row in rows]


def _shapes(rows: list[Row], num_blocks: int, arrays: Arrays) -> dict[str, Shape]:
    """Returns the shapes of the parameters, in the sizes that the arrays show."""
    by_path = {row.ours: row for row in rows}

    def size(path: str, rank: int, axis: int, usual: int) -> int:
        # The usual size lets the check of all arrays report the error.
        try:
            row = by_path[path]
            parts = [tables.empty(arrays[name].shape) for name in row.theirs]
            shape = row.form.to_ours(*parts).shape
        except (LookupError, ValueError):  # The array is missing or of another rank.
            return usual
        return shape[axis] if len(shape) == rank else usual

    patches, fc1 = "vision/patch_embedding", "vision/encoder/block_0/mlp/fc1"
    width = size(f"{patches}/kernel", 2, 1, size(CLASS_TOKEN, 3, 2, 768))
    side = math.isqrt(size(f"{patches}/kernel", 2, 0, 3 * 16**2) // 3)
    hidden = size(f"{fc1}/kernel", 2, 1, 4 * width)
    shapes = {
        CLASS_TOKEN: (1, 1, width),
        POSITIONS: (1, size(POSITIONS, 3, 1, 197), width),
        **_linear(patches, 3 * side**2, width),
        **_norm("vision/norm", width),
    }
    for i in range(num_blocks):
        block = f"vision/encoder/block_{i}"
        shapes |= _norm(f"{block}/norm1", width) | _norm(f"{block}/norm2", width)
        shapes |= _linear(f"{block}/attention/qkv", width, 3 * width)
        shapes |= _linear(f"{block}/attention/out", width, width)
        shapes |= _linear(f"{block}/mlp/fc1", width, hidden)
        shapes |= _linear(f"{block}/mlp/fc2", hidden, width)
    return shapes


def _linear(path: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{path}/kernel": (inputs, outputs), f"{path}/bias": (outputs,)}


def _norm(path: str, width: int) -> dict[str, Shape]:
    return {f"{path}/scale": (width,), f"{path}/bias": (width,)}


def _grid(num_patches: int, grid: Grid | None) -> Grid:
    if grid is None:
        grid = (math.isqrt(num_patches),) * 2
        remedy = "which is not a square number; set its grid with --source_grid"
    else:
        remedy = f"which are not {show(grid)}; set its grid with --source_grid"
    if grid[0] * grid[1] != num_patches:
        raise ValueError(f"The position table has {num_patches} patches, {remedy}.")
    return grid
