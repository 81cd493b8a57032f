"""Checks of the images and texts that a user gives."""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

from PIL import Image

from restr_jax.data.photograph import Array
from restr_jax.inference import photographs


def is_one_image(images: Any) -> bool:
    """Returns False for a list or another iterable of images."""
    one = str | bytes | bytearray | os.PathLike | Image.Image | Array
    return isinstance(images, one) or not isinstance(images, Iterable)


def list_texts(texts: Any) -> list[str]:
    """Returns one text or several as a list.

    Raises:
        TypeError: if one is not a str.
        ValueError: if one is the path of an image.
    """
    one = isinstance(texts, str | bytes) or not isinstance(texts, Iterable)
    given = [texts] if one else list(texts)
    for text in given:
        _check_text(text)
    return given


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(
            "A text is a str, such as 'the dog on the left', not "
            f"{type(text).__name__}."
        )
    # Only images, so that a file named "dog" does not forbid the word.
    is_image = pathlib.PurePath(text).suffix.lower() in photographs.suffixes()
    if is_image and os.path.isfile(os.path.expanduser(text)):
        raise ValueError(
            f"The text {text!r} is the path of an image; give the image first, then a "
            "text such as 'the dog on the left'."
        )
