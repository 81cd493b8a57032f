"""Draws masks on an image, each in its own colour, with lines clear on any image."""

import io
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from PIL import Image, ImageFilter

Color = tuple[int, int, int]

_WIDTH = 1 / 320  # of a line, as a share of the image's longer side
# The line across the edge of a mask, outside first: where each stripe starts, in line
# widths inside the edge. Dark is seen on bright images, white on dark ones.
_DARK, _WHITE, _COLOR, _END = -1.1, -0.3, 0.6, 2.0
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


def draw(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    *,
    colors: Sequence[Color] = COLORS,
    fill: float = 0.4,
    width: float | None = None,
) -> np.ndarray:
    """Draws masks with a dark, a white and a coloured line around each.

    The lines are antialiased. There is none where a mask ends with the image.

    Args:
        image: uint8 RGB [H, W, 3].
        masks: boolean [H, W] each, drawn in this order.
        colors: the RGB colours of the masks, repeated if there are more masks.
        fill: strength of the colour inside the mask, from 0 (none) to 1.
        width: width of one line, pixels; by default, it grows with the image.

    Returns:
        uint8 RGB [H, W, 3], a new array.
    """
    if width is None:
        width = max(1.0, _WIDTH * max(image.shape[:2]))
    drawn = Image.fromarray(image)
    for index, mask in enumerate(masks):
        color = tuple(colors[index % len(colors)])
        stencil = Image.fromarray(mask.astype(np.uint8) * 255)
        shade = stencil.point([round(fill * level) for level in range(256)])
        drawn.paste(color, mask=shade)
        # Across a straight edge, the blurred mask is the normal distribution's integral
        # of the distance to the edge. So each of its 256 levels has one place there.
        soft = stencil.filter(ImageFilter.GaussianBlur(width))
        for start, paint in ((_DARK, (0, 0, 0)), (_WHITE, (255,) * 3), (_COLOR, color)):
            drawn.paste(paint, mask=soft.point(_stripe(start, _END, width)))
    return np.array(drawn)


def to_png(picture: Image.Image) -> bytes:
    """Returns a PNG file for a notebook; large pictures are shrunk."""
    small, file = picture.copy(), io.BytesIO()
    small.thumbnail((_MOST_SHOWN, _MOST_SHOWN))
    small.save(file, "PNG")
    return file.getvalue()


def _stripe(start: float, end: float, width: float) -> list[int]:
    """Returns the opacity, 0 to 255, at each level of the blurred mask."""
    levels = [NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)]
    # Half a pixel to each side of a line's edge is partly covered.
    inside = np.clip((np.array(levels) - start) * width + 0.5, 0, 1)
    inside *= np.clip((end - np.array(levels)) * width + 0.5, 0, 1)
    return np.rint(255 * inside).astype(int).tolist()
