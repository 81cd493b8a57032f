"""Reads images: their headers before a build, and their pixels everywhere.

`to_rgb` is the only conversion of pixels in the project. Builders, training, scoring,
prediction and the page all call it.
"""

import io
import pathlib

import numpy as np
from PIL import EpsImagePlugin, ExifTags, Image

from tfds_builders.storage.paths import similar

# A file of any name may hold a PostScript program, which Ghostscript would run.
EpsImagePlugin.gs_binary = False
# Photographs have about 10 to 200 million pixels. Pillow warns of files that claim
# more, and refuses those that claim twice as many.
Image.MAX_IMAGE_PIXELS = 200_000_000
# The possible values of white in Pillow's modes of more than 8 bits; black is 0.
_WHITES = {"I;16": (65_535,), "I": (255, 65_535), "F": (1, 255)}
# The brightest value is at least this share of white. Values of 12 bits, stored in 16,
# would look black, and floats of unlimited range would look like any image.
_BRIGHTEST = 1 / 16


def is_too_large(height: int, width: int) -> bool:
    """Returns True for more pixels than a photograph has."""
    return height * width > Image.MAX_IMAGE_PIXELS


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts an image of any mode to uint8 RGB [H, W, 3], as it is stored.

    Transparent pixels show white. Of 16 bits, the upper 8 are kept. Integers of 32 bits
    are read as 8 or 16 bits, and floats as 0 to 1 or 0 to 255, by their largest value.

    Raises:
        ValueError: if values of more than 8 bits fit none of these ranges.
    """
    whites = _WHITES.get(image.mode[:4])  # Big-endian images are "I;16B".
    if whites:
        image = Image.fromarray(_to_bytes(np.asarray(image), whites))
    elif image.has_transparency_data:
        # Pillow cannot convert premultiplied grey to colours.
        layer = image.convert("LA") if image.mode == "La" else image
        layer = layer.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(white, layer)
    return np.asarray(image.convert("RGB"))


def _to_bytes(values: np.ndarray, whites: tuple[int, ...]) -> np.ndarray:
    low, high = values.min(), values.max()
    for white in whites:
        if low >= 0 and _BRIGHTEST * white <= high <= white:  # False for NaN.
            if white == 65_535:
                return (values >> 8).astype(np.uint8)
            return np.rint(values * (255 / white)).astype(np.uint8)
    expected = " or ".join(f"0 (black) to {white:,} (white)" for white in whites)
    raise ValueError(
        f"its values of type {values.dtype} run from {low:g} to {high:g}, and have to "
        f"run from {expected}, to at least a sixteenth of white; scale them, or save "
        "the image with 8 bits"
    )


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 2 to 8 if the image is stored turned; otherwise 1.

    This may read the whole file: a PNG file can have EXIF data after its pixels.
    """
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    return turn if turn in range(2, 9) else 1


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


def _read_head(path: pathlib.Path) -> tuple[tuple[int, int], Image.Image]:
    """Reads (height, width); returns also the header; raises as `read_size`."""
    if not path.exists():
        raise ValueError(f"the image is missing{similar(path)}")
    if not path.stat().st_size:
        raise ValueError("the file has no bytes; download it again")
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception as error:
        raise ValueError(f"it is not an image ({error})") from error
    if is_too_large(height, width):
        raise ValueError(
            f"{height} x {width} pixels exceed the limit of "
            f"{Image.MAX_IMAGE_PIXELS:,}; make the image smaller"
        )
    return (height, width), image


def check_size(path: pathlib.Path, size: tuple[int, int]) -> int:
    """Checks the header of an image file, and the pixels of modes that may be refused.

    Returns:
        An upper bound of the bytes that `read_image` returns for it, if it is upright.

    Raises:
        ValueError: as `read_size` and `to_rgb`, or if its size differs from that of its
            annotations.
    """
    found, head = _read_head(path)
    if found != size:
        raise ValueError(
            f"it is {found[0]} x {found[1]} pixels, but its annotations say "
            f"{size[0]} x {size[1]}; the image is not the one that was annotated"
        )
    if head.mode[:4] in _WHITES:
        read_pixels(path)
    if head.mode == "RGB" and not head.has_transparency_data:
        return path.stat().st_size
    # Other modes are stored as PNG, which adds a byte to each row.
    return found[0] * (3 * found[1] + 2) + 999


def _load(content: bytes) -> tuple[Image.Image, bool]:
    """Reads a whole image; returns also True if all programs see the same pixels.

    Decoders disagree on other modes, on transparency and on the turns of EXIF data.

    Raises:
        ValueError: if it is truncated or not an image.
    """
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        plain = image.mode == "RGB" and not image.has_transparency_data
        return image, plain and orientation(image) == 1
    except Exception as error:
        raise ValueError(f"it is truncated or not an image ({error})") from error


def read_image(path: pathlib.Path) -> io.BytesIO:
    """Reads a whole image file and returns it as a file that all programs read alike.

    Raises:
        ValueError: if it is truncated or not an image, or as `to_rgb`.
    """
    content = path.read_bytes()
    image, plain = _load(content)
    return io.BytesIO(content) if plain else encode_png(to_rgb(image))


def read_pixels(path: pathlib.Path) -> tuple[np.ndarray, io.BytesIO | None]:
    """Reads a whole image file and decodes it once.

    Returns:
        RGB pixels, uint8 [H, W, 3]; and the file if it is a JPEG or PNG that all
        programs read alike, or None.

    Raises:
        ValueError: as `read_image`.
    """
    content = path.read_bytes()
    image, plain = _load(content)
    kept = plain and image.format in ("JPEG", "PNG")
    return to_rgb(image), io.BytesIO(content) if kept else None
