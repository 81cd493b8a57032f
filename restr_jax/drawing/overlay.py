"""Draws masks on an image, each in its own colour."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

_MOST_SHOWN = 1024  # pixels, longer side of a picture in a notebook

# Okabe and Ito's colours, which people with impaired colour vision can distinguish; red
# first.
COLORS = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (230, 159, 0),
)


def color_of(index: int) -> tuple[int, int, int]:
    """Returns the RGB colour of the mask at an index of a list."""
    return COLORS[index % len(COLORS)]


def draw(image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Tints the pixels of each mask and darkens all others.

    Args:
        image: uint8 RGB [H, W, 3].
        masks: boolean [H, W] each; the colours of overlapping masks mix.

    Returns:
        uint8 RGB [H, W, 3].
    """
    if not any(mask.any() for mask in masks):
        return image // 2
    drawn = (image * np.float32(0.45)).astype(np.float32)
    inside = np.zeros(image.shape[:2], bool)
    for index, mask in enumerate(masks):
        base = np.where(inside[mask][:, None], drawn[mask], image[mask])
        drawn[mask] = 0.5 * base + 0.5 * np.array(color_of(index), np.float32)
        inside |= mask
    return drawn.astype(np.uint8)


def to_png(picture: Image.Image) -> bytes:
    """Returns a PNG file for a notebook; large pictures are shrunk."""
    small, file = picture.copy(), io.BytesIO()
    small.thumbnail((_MOST_SHOWN, _MOST_SHOWN))
    small.save(file, "PNG")
    return file.getvalue()
