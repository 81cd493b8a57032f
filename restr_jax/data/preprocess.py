"""Images and masks to the size a network takes, and its answers back again."""

import io
import pathlib

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as mask_util

RESIZE_MODES = ("stretch", "letterbox")
# A photograph holds some 10 to 200 million pixels; a file that claims more is refused.
Image.MAX_IMAGE_PIXELS = 200_000_000

Size = tuple[int, int]  # (height, width), pixels


def decode_image(content: bytes, what: str) -> np.ndarray:
    """Decodes an encoded image into uint8 RGB [H, W, 3].

    Raises:
        ValueError: if it is truncated, too large or no image; ``what`` names it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise ValueError(
            f"{what} is truncated, too large or not an image: {error}."
        ) from error


def read_photograph(path: str | pathlib.Path) -> np.ndarray:
    """Reads a user's image, turned upright as its EXIF data say.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a readable image.
    """
    content = pathlib.Path(path).read_bytes()
    upright = decode_image(content, str(path))
    with Image.open(io.BytesIO(content)) as image:
        if image.getexif().get(0x0112, 1) != 1:
            upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return upright


def decode_mask(counts: bytes, size: Size) -> np.ndarray:
    """Decodes COCO's compressed RLE into a boolean mask [H, W]."""
    return mask_util.decode({"size": list(size), "counts": counts}).astype(bool)


def inner_box(original: Size, target: Size, mode: str) -> tuple[int, int, int, int]:
    """Returns where the image lies in the network's input.

    Args:
        original: size of the image.
        target: size of the input.
        mode: "stretch" fills the input; "letterbox" keeps the shape and centres.

    Returns:
        (top, left, height, width) in input pixels.

    Raises:
        ValueError: if the mode is unknown.
    """
    if mode == "stretch":
        return 0, 0, *target
    if mode != "letterbox":
        raise ValueError(f"Unknown resize mode {mode!r}; it is one of {RESIZE_MODES}.")
    scale = min(target[0] / original[0], target[1] / original[1])
    height, width = (max(1, round(scale * side)) for side in original)
    return (target[0] - height) // 2, (target[1] - width) // 2, height, width


def fit_image(image: np.ndarray, target: Size, mode: str) -> np.ndarray:
    """Resizes a uint8 RGB image and normalises it to [-1, 1].

    Returns:
        float32 [H, W, 3]; what a letterbox leaves free is 0, mid-grey.
    """
    top, left, height, width = inner_box(image.shape[:2], target, mode)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    fitted = np.zeros((*target, 3), np.float32)
    fitted[top : top + height, left : left + width] = (
        np.asarray(resized, np.float32) - 127.5
    ) / 127.5
    return fitted


def fit_mask(mask: np.ndarray, target: Size, mode: str) -> np.ndarray:
    """Resizes a boolean mask; a pixel stays in if at least half of it was in.

    Returns:
        bool [H, W]; false in what a letterbox leaves free.
    """
    top, left, height, width = inner_box(mask.shape, target, mode)
    grey = Image.fromarray(mask.astype(np.float32))
    resized = grey.resize((width, height), Image.Resampling.BILINEAR)
    fitted = np.zeros(target, bool)
    fitted[top : top + height, left : left + width] = np.asarray(resized) >= 0.5
    return fitted


def restore(logits: np.ndarray, original: Size, mode: str) -> np.ndarray:
    """Brings logits [H, W] back to the size of the image, float32."""
    top, left, height, width = inner_box(original, logits.shape, mode)
    # Cut out, not `box=`: that would mix in what lies beside the box.
    inner = np.asarray(logits, np.float32)[top : top + height, left : left + width]
    size = (original[1], original[0])
    resized = Image.fromarray(inner).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized)
