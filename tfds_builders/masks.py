"""Masks from the forms that data sets come in to COCO's compressed RLE.

Nothing here trusts a file: pycocotools checks neither polygons nor runs, and crashes or
reads past them, so they are checked before it sees them.
"""

import pathlib
import zlib

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as mask_util

# The variable that a text_objseg .mat file holds its mask in.
_MAT_KEY = "segimg_t"


def encode_mask(mask: np.ndarray) -> str:
    """Encodes a boolean mask [H, W] as COCO's compressed RLE."""
    rle = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return rle["counts"].decode("ascii")


def encode_segmentation(segmentation, height: int, width: int) -> str:
    """Turns polygons or RLE into one mask, the union of the parts.

    Args:
        segmentation: list of polygons [x, y, x, y, ...], one RLE dict, or a list of
            RLE dicts; counts may be a list of numbers or COCO's string.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        COCO's compressed RLE.

    Raises:
        ValueError: if the mask has another size than its image, no pixel, or cannot be
            read.
    """
    if not isinstance(segmentation, list | dict):
        raise ValueError(f"the segmentation cannot be read: {segmentation!r}")
    parts = [segmentation] if isinstance(segmentation, dict) else list(segmentation)
    for part in parts:
        if isinstance(part, dict) and part.get("size") != [height, width]:
            raise ValueError(
                f"the mask is {part.get('size')} pixels (height, width), its image "
                f"[{height}, {width}]; the annotation and the image do not belong "
                "together"
            )
    try:
        merged = mask_util.merge([_part(part, height, width) for part in parts])
    except Exception as error:  # pycocotools raises bare Exceptions.
        raise ValueError(f"the segmentation cannot be read: {error}") from error
    if not mask_util.area(merged):
        raise ValueError("the mask has no pixel")
    return merged["counts"].decode("ascii")


def _part(part, height: int, width: int) -> dict:
    """Turns one polygon or RLE into an RLE that pycocotools can be trusted with."""
    if not isinstance(part, dict):
        points = np.asarray(part, np.float64)
        if points.ndim != 1 or points.size % 2:
            raise ValueError("a polygon is not a list x, y, x, y, ...")
        if points.size < 6:
            raise ValueError(f"a polygon has {points.size // 2} points, fewer than 3")
        # Rounding may take a polygon a little out of its image, never far.
        if not (np.abs(points) <= 10 * max(height, width)).all():
            raise ValueError("a polygon lies far outside the image")
        return mask_util.frPyObjects([part], height, width)[0]
    check_rle(part, height, width)
    if isinstance(part["counts"], list):
        return mask_util.frPyObjects(part, height, width)
    return part


def check_rle(rle: dict, height: int, width: int) -> None:
    """Checks that an RLE's runs cover an image exactly.

    Raises:
        ValueError: if they do not, or cannot be read.
    """
    counts = rle["counts"]
    runs = counts if isinstance(counts, list) else _runs(counts)
    if min(runs) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs cover {sum(runs)} pixels, not {height * width}")


def _runs(counts: str | bytes) -> list[int]:
    """Decodes COCO's string of run lengths: 5 bits a character, low bits first."""
    runs, value, shift = [], 0, 0
    for char in counts.encode() if isinstance(counts, str) else counts:
        bits = char - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{chr(char)!r} is no character of a compressed RLE")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # More bits follow.
            continue
        if bits & 16:  # Negative.
            value -= 1 << shift
        # From the fourth run on, the difference to the last but one is stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def read_mask_file(path: pathlib.Path, height: int, width: int) -> str:
    """Reads a mask from a file of its own.

    Args:
        path: ``.mat`` as text_objseg has them: the object is 0, all else is not; or an
            image, in which the object is what is neither 0 nor transparent.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        COCO's compressed RLE.

    Raises:
        ValueError: if there is no readable mask of this size in it, or no pixel.
    """
    try:
        mask = _read_mat(path) if path.suffix == ".mat" else _read_mask_image(path)
    except Exception as error:  # scipy and Pillow raise many kinds on damaged files.
        raise ValueError(f"it is missing, damaged or no mask ({error})") from error
    if mask.shape != (height, width):
        raise ValueError(
            f"the mask is {list(mask.shape)} pixels (height, width), its image "
            f"[{height}, {width}]"
        )
    if not mask.any():
        raise ValueError("the mask has no pixel")
    return encode_mask(mask)


def _read_mat(path: pathlib.Path) -> np.ndarray:
    try:
        content = scipy.io.loadmat(path, variable_names=[_MAT_KEY])
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if _MAT_KEY not in content:
        raise ValueError(f"it has no variable {_MAT_KEY!r}")
    return np.asarray(content[_MAT_KEY]) == 0


def _read_mask_image(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels, bands = np.asarray(image), image.getbands()
    if pixels.ndim == 2:
        return pixels != 0
    if bands[-1] != "A":
        return pixels.any(axis=-1)
    # What an editor saves is opaque all over, or drawn on a transparent ground.
    return pixels[..., :-1].any(axis=-1) & (pixels[..., -1] != 0)
