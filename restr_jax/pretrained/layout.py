"""Tables of third-party names, and the conversion of weights by them, both ways."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from restr_jax.models import strict

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


class Form(NamedTuple):
    """Conversions of a parameter to the arrays that others store, and back.

    Attributes:
        to_theirs: returns their arrays, as views.
        to_ours: takes their arrays and returns the parameter.
    """

    to_theirs: Callable[[np.ndarray], Sequence[np.ndarray]]
    to_ours: Callable[..., np.ndarray]


class Row(NamedTuple):
    """A parameter and its third-party arrays.

    Attributes:
        ours: the parameter's path.
        theirs: names of the arrays.
        form: their form.
    """

    ours: str
    theirs: tuple[str, ...]
    form: Form

    def within(self, ours: str, theirs: str) -> "Row":
        """Adds prefixes to the path and to the names."""
        names = tuple(theirs + name for name in self.theirs)
        return Row(ours + self.ours, names, self.form)


def _patches_to_theirs(kernel: np.ndarray) -> list[np.ndarray]:
    side = math.isqrt(kernel.shape[0] // 3)
    return [kernel.reshape(side, side, 3, kernel.shape[1]).transpose(3, 2, 0, 1)]


SAME = Form(lambda x: [x], lambda x: x)
# PyTorch's patch projection, a convolution.
PATCHES = Form(
    _patches_to_theirs, lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])
)


def same(ours: str, theirs: str) -> Row:
    """Returns the row of an array that is stored unchanged."""
    return Row(ours, (theirs,), SAME)


def norm(
    ours: str, theirs: str, scale: str = ".weight", bias: str = ".bias"
) -> list[Row]:
    """Returns the rows of a LayerNorm."""
    return [same(f"{ours}/scale", theirs + scale), same(f"{ours}/bias", theirs + bias)]


def linear(ours: str, *theirs: str) -> list[Row]:
    """Returns the rows of PyTorch's linears, which our linear concatenates."""
    parts = len(theirs)
    kernel = Form(
        lambda x: np.split(x.T, parts), lambda *weights: np.concatenate(weights).T
    )
    bias = Form(lambda x: np.split(x, parts), lambda *biases: np.concatenate(biases))
    return [
        Row(f"{ours}/kernel", tuple(f"{name}.weight" for name in theirs), kernel),
        Row(f"{ours}/bias", tuple(f"{name}.bias" for name in theirs), bias),
    ]


def to_theirs(rows: Iterable[Row], ours: Arrays) -> dict[str, np.ndarray]:
    """Returns parameters under their third-party names, as views."""
    return {
        name: array
        for row in rows
        for name, array in zip(
            row.theirs, row.form.to_theirs(ours[row.ours]), strict=True
        )
    }


def to_ours(rows: Iterable[Row], theirs: Arrays) -> dict[str, np.ndarray]:
    """Returns third-party arrays as float32 parameters, by path.

    Raises:
        ValueError: if an array holds anything but finite floating-point numbers.
    """
    return {
        row.ours: row.form.to_ours(
            *(strict.as_float32(name, theirs[name]) for name in row.theirs)
        )
        for row in rows
    }


def expected(rows: Iterable[Row], shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Returns the shape of each third-party array, given those of the parameters."""
    theirs = to_theirs(rows, {path: empty(shape) for path, shape in shapes.items()})
    return {name: array.shape for name, array in theirs.items()}


def empty(shape: Shape) -> np.ndarray:
    """Returns zeros that take no memory."""
    return np.broadcast_to(np.float32(0), shape)
