"""Reads a user's own images of any format, size and orientation."""

import os
import pathlib
import re
import warnings
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps

from tfds_builders import images
from tfds_builders.storage.paths import typed

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # Not "C:/": a drive.


@runtime_checkable
class Array(Protocol):
    """An array of any library, such as JAX or PyTorch on the CPU."""

    def __array__(self) -> np.ndarray:
        """Returns its values."""


# Supported inputs: a path, a PIL image, or an array, uint8 RGB [H, W, 3].
ImageLike = str | os.PathLike[str] | Image.Image | Array


def to_pixels(image: Any) -> np.ndarray:
    """Returns an image as uint8 RGB [H, W, 3], rotated upright by its EXIF data.

    `images.to_rgb` converts its pixels, as for training.

    Args:
        image: an `ImageLike`.

    Raises:
        FileNotFoundError: if the file does not exist.
        TypeError: if it is of another type, such as None or bytes.
        ValueError: if the file is damaged, too large, not an image or of unknown white,
            the array has another type or shape, or the path is a URL.
    """
    if isinstance(image, Image.Image):
        return _to_rgb(image, "The image")
    if isinstance(image, Array):
        return _checked(image)
    if not isinstance(image, str | os.PathLike):
        opened = "; open bytes with PIL.Image.open(io.BytesIO(data))"
        raise TypeError(
            "An image is a path, a PIL image or an array, uint8 RGB [height, width, "
            f"3], not {type(image).__name__}"
            f"{opened if isinstance(image, bytes | bytearray) else ''}."
        )
    refuse_url(os.fspath(image))
    path = pathlib.Path(typed(image))
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes that are rejected below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(path)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {error}") from error
    # Pillow's readers raise any error of their format's parser.
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable image; convert it to JPEG or PNG."
        ) from error
    with file:
        return _to_rgb(file, str(path))


def refuse_url(path: str) -> None:
    """Refuses addresses, since nothing is downloaded.

    Raises:
        ValueError: if the path is a URL.
    """
    if _URL.match(path):
        raise ValueError(f"{path} is a URL; download the image, then give its file.")


def _checked(image: Array) -> np.ndarray:
    """Returns an array of any library as NumPy's, if it is an image."""
    try:
        pixels = np.asarray(image)
    except Exception as error:  # PyTorch raises several types, and names the fix.
        raise ValueError(f"The image array cannot be read: {error}") from error
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[-1] != 3:
        fix = "; move the channels last"
    elif pixels.ndim == 3 and pixels.dtype != np.uint8:
        fix = "; convert its values to uint8, 0 to 255"
    else:
        fix = "; give several as a list" if pixels.ndim == 4 else ""
    raise ValueError(
        "An image array must be uint8 RGB [height, width, 3], not "
        f"{pixels.dtype} {list(pixels.shape)}{fix}."
    )


def _to_rgb(image: Image.Image, what: str) -> np.ndarray:
    if images.is_too_large(image.height, image.width):
        raise ValueError(
            f"{what} has {image.width} x {image.height} pixels, and at most "
            f"{Image.MAX_IMAGE_PIXELS:,} are supported; resize it first."
        )
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception as error:
        raise ValueError(f"{what} is damaged: {error}.") from error
    try:
        return images.to_rgb(upright)
    except Exception as error:
        raise ValueError(f"{what} cannot be read: {error}.") from error
