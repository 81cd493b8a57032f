"""Reads a user's own images of any format, size and orientation."""

import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from tfds_builders import images
from tfds_builders.storage.paths import typed

# Supported inputs: a path, a PIL image, or uint8 RGB [H, W, 3].
ImageLike = str | pathlib.Path | Image.Image | np.ndarray


def to_pixels(image: ImageLike) -> np.ndarray:
    """Returns an image as uint8 RGB [H, W, 3], rotated upright by its EXIF data.

    `images.to_rgb` converts its pixels, as for training.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged, too large, not an image or of unknown white,
            or the array has another type or shape.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(
                "An image array must be uint8 RGB [height, width, 3], not "
                f"{image.dtype} {list(image.shape)}."
            )
        return image
    if isinstance(image, Image.Image):
        return _to_rgb(image, "The image")
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
