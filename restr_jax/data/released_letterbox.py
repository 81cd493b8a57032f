"""Resizes images and masks to the network's size and back, like the released program.

It keeps the aspect ratio and centres the image, like "letterbox", with other filters:

*   In training, images and masks are blurred before downsampling, interpolated, and
    stored as bytes with a black border. A mask's pixel is true if any pixel that it is
    interpolated from is true, so masks grow.
*   In scoring, images are interpolated without a blur, and the border is grey.
*   Logits are resized at one scale for both axes, and the centre is cropped. If the
    sides were rounded, the result is off by up to one input pixel.
"""

import numpy as np

Size = tuple[int, int]  # (height, width), pixels
Box = tuple[int, int, int, int]  # (top, left, height, width), pixels


def place_image(image: np.ndarray, target: Size, box: Box) -> np.ndarray:
    """Resizes an image for training.

    Args:
        image: uint8 RGB [H, W, 3].
        target: size of the network's input.
        box: the image's box in it (`preprocess.inner_box`, "letterbox").

    Returns:
        uint8 [target, 3], black outside the box.
    """
    pixels = _blur_and_resize(image / 255, box[2:])
    return _place(np.rint(pixels * 255).astype(np.uint8), target, box)


def fit_mask(mask: np.ndarray, target: Size, box: Box) -> np.ndarray:
    """Resizes a boolean mask for training; see `place_image`."""
    share = _blur_and_resize(mask.astype(np.float32), box[2:])
    return _place(share > 0, target, box)


def fit_image(image: np.ndarray, target: Size, box: Box) -> np.ndarray:
    """Resizes and normalises an image for scoring.

    Args:
        image: uint8 RGB [H, W, 3].
        target: size of the network's input.
        box: the image's box in it.

    Returns:
        float32 [target, 3] in [-1, 1], 0 (grey) outside the box.
    """
    normalised = (image.astype(np.float32) - 127.5) / 127.5
    return _place(_interpolate(normalised, box[2:], "nearest"), target, box)


def restore(logits: np.ndarray, original: Size) -> np.ndarray:
    """Resizes logits [H, W] of the input to the size of the image, float32."""
    height, width = logits.shape
    scale = max(original[0] / height, original[1] / width)
    enlarged = (round(height * scale), round(width * scale))
    resized = _interpolate(np.asarray(logits, np.float32), enlarged, "nearest")
    top, left = (enlarged[0] - original[0]) // 2, (enlarged[1] - original[1]) // 2
    return resized[top : top + original[0], left : left + original[1]]


def _blur_and_resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes like scikit-image with its defaults, with mirrored borders."""
    factors = np.divide(pixels.shape[:2], size)
    sigma = np.maximum(0, (factors - 1) / 2)
    sigma = (*sigma, *[0] * (pixels.ndim - 2))
    from scipy import ndimage  # Imported late: no other mode needs it.

    # A blur of width 0 leaves an axis unchanged.
    blurred = ndimage.gaussian_filter(pixels, sigma, mode="mirror")
    return _interpolate(blurred, size, "mirror")


def _interpolate(pixels: np.ndarray, size: Size, border: str) -> np.ndarray:
    """Interpolates linearly at half-pixel centres."""
    from scipy import ndimage

    zoom = (*np.divide(size, pixels.shape[:2]), *[1] * (pixels.ndim - 2))
    return ndimage.zoom(pixels, zoom, order=1, mode=border, grid_mode=True)


def _place(pixels: np.ndarray, target: Size, box: Box) -> np.ndarray:
    top, left, height, width = box
    placed = np.zeros((*target, *pixels.shape[2:]), pixels.dtype)
    placed[top : top + height, left : left + width] = pixels
    return placed
