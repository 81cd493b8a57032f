"""Files that `restr predict` writes; it writes over no others.

Each mask and overlay is marked: its PNG text "Software" has a digest of its pixels.
"""

import hashlib
import json
import pathlib
import warnings
from collections.abc import Iterable

import numpy as np
from PIL import Image, PngImagePlugin

from restr_jax.files import named

ROWS = "predictions.jsonl"
_WRITER = "restr predict"


def mask_and_overlay(stem: str) -> tuple[str, str]:
    """Returns the names of both files."""
    return f"{stem}.png", f"{stem}-overlay.png"


def write(path: pathlib.Path, pixels: np.ndarray) -> None:
    """Writes a marked PNG file.

    Args:
        path: the path of the file.
        pixels: uint8 [H, W, 3], or a boolean mask [H, W], written as 0 and 255.
    """
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", _mark(pixels))
    Image.fromarray(pixels).save(path, pnginfo=text)


def is_output(path: pathlib.Path) -> bool:
    """Returns True for a mask, an overlay or rows, even if they were changed since."""
    if path.name == ROWS:
        return path.is_file() and _are_rows(path)
    return _read_mark(path).startswith(_WRITER)


def listed(folder: pathlib.Path) -> set[str]:
    """Returns the names of masks and overlays in a folder's predictions.jsonl.

    An image editor may have dropped their mark.
    """
    path = folder / ROWS
    rows = map(_read_row, _lines(path) if path.is_file() else ())
    stems = [pathlib.PurePath(row["mask_file"]).stem for row in rows if row]
    return {name for stem in stems for name in mask_and_overlay(stem)}


def check_free(paths: Iterable[pathlib.Path]) -> None:
    """Refuses to write over files other than unchanged earlier outputs.

    Raises:
        ValueError: if one of the paths is a file of the user.
    """
    taken = [str(p) for p in paths if p.exists() and not _is_replaceable(p)]
    if taken:
        raise ValueError(
            f"The prediction would write over {named(taken)}. No earlier prediction "
            "wrote this, or it was changed since. Choose another output, or move it."
        )


def _is_replaceable(path: pathlib.Path) -> bool:
    if not path.stat().st_size:
        return True  # A killed run may leave an empty file.
    if path.name == ROWS:
        return is_output(path)
    mark = _read_mark(path)
    if not mark.startswith(_WRITER):
        return False
    try:
        with Image.open(path) as image:
            return mark == _mark(np.asarray(image))
    except (OSError, SyntaxError, ValueError):
        return True  # A killed run may leave the beginning of a file.


def _mark(pixels: np.ndarray) -> str:
    content = repr(pixels.shape).encode() + pixels.tobytes()
    return f"{_WRITER} {hashlib.sha256(content).hexdigest()}"


def _read_mark(path: pathlib.Path) -> str:
    """Returns the mark of an image, or "" of any other file."""
    if path.suffix.lower() != ".png":
        return ""
    try:
        with warnings.catch_warnings():
            # The size matters when the image is read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                return str(image.info.get("Software", ""))
    except Exception:  # Pillow's readers raise any error of their format's parser.
        return ""


def _are_rows(path: pathlib.Path) -> bool:
    """Returns True if every line is a row; a kill may have cut the last one."""
    *lines, last = _lines(path)
    is_whole = bool(lines) if not last else _read_row(last) is not None
    return all(map(_read_row, lines)) and (is_whole or _is_cut(last))


def _is_cut(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return '"expression": ' in line
    return False


def _lines(path: pathlib.Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n")


def _read_row(line: str) -> dict | None:
    """Returns a row of `predict`, or None for any other line."""
    try:
        row = json.loads(line)
        is_row = isinstance(row["mask_file"], str) and "expression" in row
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return row if is_row else None
