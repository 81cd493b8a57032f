"""Image files: looked at before a build, read whole while it runs."""

import io
import pathlib

import numpy as np
from PIL import EpsImagePlugin, Image

# A file of any name may hold PostScript, a program, which Ghostscript would run.
EpsImagePlugin.gs_binary = False
# A photograph holds some 10 to 200 million pixels; Pillow warns of a file that claims
# more, and refuses one that claims twice as many.
Image.MAX_IMAGE_PIXELS = 200_000_000


def encode_png(image: np.ndarray) -> io.BytesIO:
    """Encodes a uint8 image [H, W, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    file.seek(0)
    return file


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Reads (height, width) from the head of an image file.

    Raises:
        ValueError: if it is missing, empty, no image or absurdly large.
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
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{height} x {width} pixels are too many for a photograph")
    return (height, width), mode


def check_size(path: pathlib.Path, size: tuple[int, int]) -> int:
    """Checks the head of an image file.

    Returns:
        The bytes of the file that `read_image` makes of it, at most.

    Raises:
        ValueError: as `read_size`, or if it has another size than its annotations say.
    """
    found, mode = _read_head(path)
    if found != size:
        raise ValueError(
            f"it is {found[0]} x {found[1]} pixels, but its annotations say "
            f"{size[0]} x {size[1]}; the image is not the one that was annotated"
        )
    # What is not RGB is stored as a PNG file, each row with a byte of its own.
    return path.stat().st_size if mode == "RGB" else found[0] * (3 * found[1] + 2) + 999


def read_image(path: pathlib.Path) -> io.BytesIO:
    """Reads an image file whole and returns it as an RGB file.

    Raises:
        ValueError: if it is truncated or no image.
    """
    content = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        if image.mode != "RGB":
            # Backends disagree on how to decode grey and CMYK files; none is stored.
            return encode_png(np.asarray(image.convert("RGB")))
    except Exception as error:
        raise ValueError(f"it is truncated or not an image ({error})") from error
    return io.BytesIO(content)


def read_pixels(path: pathlib.Path) -> tuple[np.ndarray, io.BytesIO | None]:
    """Reads an image file whole, and decodes it once.

    Returns:
        RGB pixels, uint8 [H, W, 3]; the file, if it is JPEG or PNG in RGB, or None.

    Raises:
        ValueError: if it is truncated or no image.
    """
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            kept = image.mode == "RGB" and image.format in ("JPEG", "PNG")
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:
        raise ValueError(f"it is truncated or not an image ({error})") from error
    return pixels, io.BytesIO(content) if kept else None
