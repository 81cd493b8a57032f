"""Checks image headers before a build, and reads whole image files during it."""

import io
import pathlib

import numpy as np
from PIL import EpsImagePlugin, Image

# A file of any name may hold a PostScript program, which Ghostscript would run.
EpsImagePlugin.gs_binary = False
# Photographs have about 10 to 200 million pixels. Pillow warns of files that claim
# more, and refuses those that claim twice as many.
Image.MAX_IMAGE_PIXELS = 200_000_000


def is_too_large(height: int, width: int) -> bool:
    """Returns True for more pixels than a photograph has."""
    return height * width > Image.MAX_IMAGE_PIXELS


def encode_png(image: np.ndarray) -> io.BytesIO:
    """Encodes a uint8 image [H, W, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    file.seek(0)
    return file


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Reads (height, width) from the header of an image file.

    Raises:
        ValueError: if the file is missing, empty, not an image or too large.
    """
    return _read_head(path)[0]


def _read_head(path: pathlib.Path) -> tuple[tuple[int, int], str]:
    """Reads (height, width) and Pillow's mode; raises as `read_size`."""
    if not path.exists():
        raise ValueError("the image is missing")
    if not path.stat().st_size:
        raise ValueError("the file has no bytes; download it again")
    try:
        with Image.open(path) as image:
            (width, height), mode = image.size, image.mode
    except Exception as error:
        raise ValueError(f"it is not an image ({error})") from error
    if is_too_large(height, width):
        raise ValueError(
            f"{height} x {width} pixels exceed the limit of "
            f"{Image.MAX_IMAGE_PIXELS:,}; make the image smaller"
        )
    return (height, width), mode


def check_size(path: pathlib.Path, size: tuple[int, int]) -> int:
    """Checks the header of an image file.

    Returns:
        An upper bound of the bytes that `read_image` returns for it.

    Raises:
        ValueError: as `read_size`, or if its size differs from that of its annotations.
    """
    found, mode = _read_head(path)
    if found != size:
        raise ValueError(
            f"it is {found[0]} x {found[1]} pixels, but its annotations say "
            f"{size[0]} x {size[1]}; the image is not the one that was annotated"
        )
    # Other modes are stored as PNG, which adds a byte to each row.
    return path.stat().st_size if mode == "RGB" else found[0] * (3 * found[1] + 2) + 999


def read_image(path: pathlib.Path) -> io.BytesIO:
    """Reads a whole image file and returns it as an RGB file.

    Raises:
        ValueError: if it is truncated or not an image.
    """
    content = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        if image.mode != "RGB":
            # Decoders disagree on grey and CMYK files, so none is stored.
            return encode_png(np.asarray(image.convert("RGB")))
    except Exception as error:
        raise ValueError(f"it is truncated or not an image ({error})") from error
    return io.BytesIO(content)


def read_pixels(path: pathlib.Path) -> tuple[np.ndarray, io.BytesIO | None]:
    """Reads a whole image file and decodes it once.

    Returns:
        RGB pixels, uint8 [H, W, 3]; and the file if it is an RGB JPEG or PNG, or None.

    Raises:
        ValueError: if it is truncated or not an image.
    """
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            kept = image.mode == "RGB" and image.format in ("JPEG", "PNG")
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:
        raise ValueError(f"it is truncated or not an image ({error})") from error
    return pixels, io.BytesIO(content) if kept else None
