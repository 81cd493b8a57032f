"""Converts masks of all source formats to COCO's compressed RLE.

Files are untrusted. pycocotools checks neither polygons nor runs, and crashes or reads
past them, so this module checks them first.
"""

import array
import io
import pathlib
import reprlib
import struct
import zlib
from typing import Any

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as mask_util

from tfds_builders import images, rle
from tfds_builders.rle import encode_mask

# In a .mat file of text_objseg: the variable of the mask, the bytes of the header, and
# the type of a compressed element.
_MAT_KEY, _MAT_HEAD, _MAT_PACKED = "segimg_t", 128, 15
_NUMBERS = {"double", "single", "logical"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
# In multiples of height + width of the image; annotated outlines need only a few.
_LONGEST_OUTLINE = 1_000


def compact(segmentation):
    """Packs polygons for `encode_segmentation` into a fourth of the memory."""
    if isinstance(segmentation, list) and all(map(_is_polygon, segmentation)):
        return [array.array("d", polygon) for polygon in segmentation]
    return segmentation


def _is_polygon(part) -> bool:
    return isinstance(part, list) and all(
        type(value) is float or (type(value) is int and abs(value) < 2**63)
        for value in part
    )


def without_slivers(segmentation) -> tuple[Any, str]:
    """Drops the polygons of fewer than three points from a list of several parts.

    Programs that draw outlines leave such parts beside good ones. They have no area.

    Args:
        segmentation: as `encode_segmentation` takes it.

    Returns:
        The segmentation without them, and an error message on them, or "". If no part
        remains, the segmentation is unchanged.
    """
    parts = segmentation if isinstance(segmentation, list) else []
    slivers = {
        i: len(part) // 2
        for i, part in enumerate(parts, start=1)
        if isinstance(part, list | array.array) and len(part) in (0, 2, 4)
    }
    if not slivers or len(slivers) == len(parts):
        return segmentation, ""
    found = ", ".join(f"part {i} has {points}" for i, points in slivers.items())
    return [part for i, part in enumerate(parts, start=1) if i not in slivers], (
        f"a polygon of its mask has fewer than 3 points and no area ({found}); remove "
        "it, or skip only this part with --skip_bad"
    )


def encode_segmentation(segmentation, height: int, width: int) -> str:
    """Encodes the union of polygons or RLEs as one mask.

    Args:
        segmentation: list of polygons [x, y, x, y, ...], one polygon, one RLE dict, or
            a list of RLE dicts; counts may be a list of numbers or COCO's string.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        COCO's compressed RLE.

    Raises:
        ValueError: if the mask differs in size from its image, is empty, or cannot be
            read.
    """
    if not isinstance(segmentation, list | dict):
        raise ValueError(
            f"the segmentation cannot be read: {reprlib.repr(segmentation)}"
        )
    if min(height, width) < 1 or images.is_too_large(height, width):
        raise ValueError(f"an image cannot have {height} x {width} pixels")
    one = isinstance(segmentation, dict) or (segmentation and _is_polygon(segmentation))
    parts = [segmentation] if one else list(segmentation)
    for part in parts:
        if isinstance(part, dict) and part.get("size") != [height, width]:
            raise ValueError(
                f"the mask is {reprlib.repr(part.get('size'))} pixels (height, width), "
                f"its image [{height}, {width}]; the annotation and the image do not "
                "belong together"
            )
    try:
        merged = mask_util.merge([_part(part, height, width) for part in parts])
    except Exception as error:  # pycocotools raises bare Exceptions.
        raise ValueError(f"the segmentation cannot be read: {error}") from error
    if not mask_util.area(merged):
        raise ValueError("the mask has no pixels")
    return merged["counts"].decode("ascii")


def _part(part, height: int, width: int) -> dict:
    """Turns one polygon or RLE into an RLE that is safe for pycocotools."""
    if not isinstance(part, dict):
        points = np.asarray(part, np.float64)
        if points.ndim != 1 or points.size % 2:
            raise ValueError(
                f"a polygon is {reprlib.repr(part)}, not a list x, y, x, y, ..."
            )
        if points.size < 6:
            raise ValueError(
                f"a polygon has {points.size // 2} points, fewer than 3; write all its "
                "points in one list x, y, x, y, ..."
            )
        # Rounding may move a polygon slightly out of its image, but not far.
        if not (np.abs(points) <= 10 * max(height, width)).all():
            raise ValueError("a polygon lies far outside the image")
        # pycocotools allocates about 40 bytes per pixel of the outline.
        if np.abs(points[2:] - points[:-2]).sum() > _LONGEST_OUTLINE * (height + width):
            raise ValueError(
                "the outline of a polygon is longer than "
                f"{_LONGEST_OUTLINE:,} x (height + width) of its image"
            )
        return mask_util.frPyObjects([points.tolist()], height, width)[0]
    runs = rle.read_runs(part["counts"], height, width)
    if not runs[1:].all():
        # pycocotools ends a merge too early where empty runs of two masks meet.
        mask = rle.to_mask(runs, height, width)
        return mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    if isinstance(part["counts"], list):
        return mask_util.frPyObjects(part, height, width)
    return part


def read_mask_file(path: pathlib.Path, height: int, width: int) -> str:
    """Reads a mask from a file.

    Args:
        path: ``.mat`` file of text_objseg, in which 0 marks the object; or an image, in
            which pixels that are neither 0 nor transparent mark it.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        COCO's compressed RLE.

    Raises:
        ValueError: if it holds no readable mask of this size, or an empty one.
    """
    try:
        if path.suffix == ".mat":
            mask = _read_mat(path, height, width)
            size = mask.shape
        elif (size := images.read_size(path)) == (height, width):
            mask = _read_mask_image(path)
    except Exception as error:  # scipy and Pillow raise many types on damaged files.
        raise ValueError(f"it is missing, damaged or not a mask ({error})") from error
    if size != (height, width):
        raise ValueError(
            f"the mask is {list(size)} pixels (height, width), its image "
            f"[{height}, {width}]"
        )
    if not mask.any():
        raise ValueError("the mask has no pixels")
    return encode_mask(mask)


def _read_mat(path: pathlib.Path, height: int, width: int) -> np.ndarray:
    # A mask of doubles takes 8 bytes a pixel. The limit stops decompression bombs.
    file = io.BytesIO(_unpack_mat(path.read_bytes(), 64 * height * width + 2**20))
    kinds = [kind for name, _, kind in scipy.io.whosmat(file) if name == _MAT_KEY]
    if not kinds:
        raise ValueError(f"it has no variable {_MAT_KEY!r}")
    # Deeply nested cells would overflow scipy's stack.
    if not set(kinds) <= _NUMBERS:
        raise ValueError(f"its variable {_MAT_KEY!r} is a {kinds[0]}, not numbers")
    file.seek(0)
    return scipy.io.loadmat(file, variable_names=[_MAT_KEY])[_MAT_KEY] == 0


def _unpack_mat(content: bytes, most: int) -> bytes:
    """Decompresses the variables of a .mat file of version 5, one by one.

    Raises:
        ValueError: if it exceeds `most` bytes, compressed or not.
    """
    parts, place = [content[:_MAT_HEAD]], _MAT_HEAD
    order = ">" if content[126:128] == b"MI" else "<"
    if 0 in content[:4]:  # Version 4 has no compression.
        parts, place = [content], len(content)
    room = most - len(content)
    while place + 8 <= len(content) and room >= 0:
        kind, size = struct.unpack_from(f"{order}II", content, place)
        part = content[place : place + 8 + size]
        if kind == _MAT_PACKED:
            part = zlib.decompressobj().decompress(part[8:], room + 1)
            room -= len(part)
        parts.append(part)
        place += 8 + size
    if room < 0:
        raise ValueError(f"it takes more than {most:,} bytes")
    return b"".join(parts)


def _read_mask_image(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels, bands = np.asarray(image), image.getbands()
        if (turn := images.orientation(image)) != 1:
            raise ValueError(f"it is stored rotated (EXIF orientation {turn})")
    if pixels.ndim == 2:
        return pixels != 0
    if bands[-1] != "A":
        return pixels.any(axis=-1)
    # Editors save masks fully opaque, or drawn on a transparent background.
    return pixels[..., :-1].any(axis=-1) & (pixels[..., -1] != 0)
