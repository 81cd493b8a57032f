"""Resizes images and masks to the network's input, and its logits back."""

import io

import numpy as np
from PIL import Image

from restr_jax.data import released_letterbox
from tfds_builders import images, rle

# "stretch" fills the input; "letterbox" keeps the aspect ratio and centres the image;
# "released" does the same with the filters of `released_letterbox`.
RESIZE_MODES = ("stretch", "letterbox", "released")

Size = tuple[int, int]  # (height, width), pixels


def decode_image(content: bytes, what: str) -> np.ndarray:
    """Decodes an encoded image of a record into uint8 RGB [H, W, 3].

    Masks fit the pixels as they are stored, so EXIF data do not turn them.

    Raises:
        ValueError: if it is truncated, too large or not an image; ``what`` names it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if images.is_too_large(image.height, image.width):
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            return images.to_rgb(image)
    except Exception as error:
        raise ValueError(
            f"{what} is truncated, too large or not an image: {error}."
        ) from error


def mirror(pixels: np.ndarray) -> np.ndarray:
    """Mirrors an image [H, W, 3] or a mask [H, W] horizontally."""
    return np.ascontiguousarray(pixels[:, ::-1])


def decode_mask(counts: bytes | str | list[int], size: Size) -> np.ndarray:
    """Decodes COCO's RLE, compressed or not, into a boolean mask [H, W].

    Raises:
        ValueError: if it is not an RLE or encodes a mask of another size.
    """
    return rle.to_mask(rle.read_runs(counts, *size), *size)


def inner_box(original: Size, target: Size, mode: str) -> tuple[int, int, int, int]:
    """Returns the box of the image in the network's input.

    Args:
        original: size of the image.
        target: size of the input.
        mode: one of `RESIZE_MODES`.

    Returns:
        (top, left, height, width) in input pixels.

    Raises:
        ValueError: if the mode is unknown.
    """
    if mode == "stretch":
        return 0, 0, *target
    if mode not in RESIZE_MODES:
        raise ValueError(
            f"Unknown resize mode {mode!r}; set config.data.resize to one of "
            f"{RESIZE_MODES}."
        )
    scale = min(target[0] / original[0], target[1] / original[1])
    height, width = (max(1, round(scale * side)) for side in original)
    return (target[0] - height) // 2, (target[1] - width) // 2, height, width


def place_image(
    image: np.ndarray, target: Size, mode: str
) -> tuple[np.ndarray, np.ndarray]:
    """Resizes a uint8 RGB image into the network's input, not yet normalised.

    Returns:
        uint8 [H, W, 3], and int32 [4]: the box outside which `normalise` sets grey.
    """
    top, left, height, width = box = inner_box(image.shape[:2], target, mode)
    if mode == "released":
        # The black border stays black: the box covers the whole input.
        placed = released_letterbox.place_image(image, target, box)
        return placed, np.array((0, 0, *target), np.int32)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    placed = np.zeros((*target, 3), np.uint8)
    placed[top : top + height, left : left + width] = resized
    return placed, np.array(box, np.int32)


def normalise(placed: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Scales the pixels of `place_image` to [-1, 1], like `inputs.normalise`.

    Returns:
        float32 [H, W, 3]; 0 (mid-grey) outside the box.
    """
    top, left, height, width = box
    inside = np.s_[top : top + height, left : left + width]
    fitted = np.zeros(placed.shape, np.float32)
    # In place: allocating and freeing arrays of this size takes longer than computing.
    np.subtract(placed[inside], np.float32(127.5), out=fitted[inside])
    # A product is identical on all devices; a quotient is not.
    fitted *= np.float32(1 / 127.5)
    return fitted


def fit_image(image: np.ndarray, target: Size, mode: str) -> np.ndarray:
    """Resizes a uint8 RGB image for scoring and normalises it to [-1, 1].

    Returns:
        float32 [H, W, 3]; 0 (mid-grey) in the letterbox border.
    """
    if mode == "released":
        box = inner_box(image.shape[:2], target, mode)
        return released_letterbox.fit_image(image, target, box)
    return normalise(*place_image(image, target, mode))


def fit_mask(mask: np.ndarray, target: Size, mode: str) -> np.ndarray:
    """Resizes a boolean mask; a pixel is true if at least half of it was true.

    In the mode "released", a pixel is true if any part of it was true.

    Returns:
        bool [H, W]; false in the letterbox border.
    """
    top, left, height, width = box = inner_box(mask.shape, target, mode)
    if mode == "released":
        return released_letterbox.fit_mask(mask, target, box)
    grey = Image.fromarray(mask.astype(np.uint8)).convert("F")
    resized = grey.resize((width, height), Image.Resampling.BILINEAR)
    fitted = np.zeros(target, bool)
    fitted[top : top + height, left : left + width] = np.asarray(resized) >= 0.5
    return fitted


def stretch_mask(mask: np.ndarray, target: Size) -> np.ndarray:
    """Stretches a boolean mask with nearest neighbours, like LAVT's scoring.

    Returns:
        bool [H, W].
    """
    size = (target[1], target[0])
    grey = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(grey.resize(size, Image.Resampling.NEAREST)).astype(bool)


def restore(logits: np.ndarray, original: Size, mode: str) -> np.ndarray:
    """Resizes logits [H, W] to the size of the image, float32."""
    if mode == "released":
        return released_letterbox.restore(logits, original)
    top, left, height, width = inner_box(original, logits.shape, mode)
    # Cropped first: resizing with `box=` would blend in pixels outside the box.
    inner = np.asarray(logits, np.float32)[top : top + height, left : left + width]
    size = (original[1], original[0])
    resized = Image.fromarray(inner).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized)
