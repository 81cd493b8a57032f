"""Checks that weights match a model exactly, and lists all mismatches at once."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...] | None  # None: any

# Maximum number of listed mismatches per kind; a wrong model has hundreds.
_LISTED = 20


def check(
    found: Mapping[str, Shape], expected: Mapping[str, Shape], what: str, remedy: str
) -> None:
    """Compares names and shapes.

    Args:
        found: the shape of every array found.
        expected: the shape of every array expected.
        what: source of the arrays, the start of the message.
        remedy: fix, the end of the message.

    Raises:
        ValueError: if arrays are missing, extra or of another shape; lists them.
    """
    missing = [f"{n} {expected[n] or ''}" for n in expected if n not in found]
    extra = [f"{n} {found[n] or ''}" for n in found if n not in expected]
    reshaped = [
        f"{n} {found[n]}, not {shape}"
        for n, shape in expected.items()
        if n in found and shape is not None and found[n] != shape
    ]
    lines = []
    for kind, entries in (
        ("missing", missing),
        ("not expected", extra),
        ("of another shape", reshaped),
    ):
        if entries:
            lines.append(f"{len(entries)} {kind}:")
            lines += [f"  {entry.rstrip()}" for entry in entries[:_LISTED]]
        if len(entries) > _LISTED:
            lines.append(f"  and {len(entries) - _LISTED} more")
    if lines:
        raise ValueError("\n".join([f"{what} does not fit:", *lines, remedy]))


def as_float32(name: str, array: Any) -> np.ndarray:
    """Returns weights of any floating type as float32.

    Raises:
        ValueError: if they are not floating-point numbers or not all finite.
    """
    array = np.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{name} holds {array.dtype}, not floating-point numbers; dequantise the "
            "weights first."
        )
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} holds values that are not finite; the file is damaged or from a "
            "run that diverged. Use other weights."
        )
    return array
