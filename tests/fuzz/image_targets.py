"""Targets that read images: valid, truncated, huge, odd, or no images at all."""

import contextlib
import io
from collections.abc import Iterator
from unittest import mock

import numpy as np
from fuzz.contract import documented, target, write
from PIL import Image

from restr_jax.data import photograph, preprocess
from tfds_builders import fields, images

# A larger limit tests the same code and takes longer.
_MOST = 2**18


@contextlib.contextmanager
def _small_images() -> Iterator[None]:
    with mock.patch.object(Image, "MAX_IMAGE_PIXELS", _MOST):
        yield


def _image(kind: str, mode: str = "RGB", **how) -> bytes:
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    file = io.BytesIO()
    pixels.convert(mode).save(file, kind, **how)
    return file.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
_SEEDS = (
    *(_image("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    _image("png", exif=_turned()),
    _image("png", "1", optimize=True).replace(b"\0\0\0\x0c", b"\0\1\0\0"),
    *(_image("jpeg", mode) for mode in ("L", "RGB", "CMYK")),
    _image("jpeg", exif=_turned(), progressive=True),
    _image("mpo", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
    *(_image("gif", mode) for mode in ("L", "P")),
    *(_image("bmp", mode) for mode in ("1", "P", "RGB")),
    *(_image("tiff", mode) for mode in ("1", "RGB", "F", "I", "CMYK")),
    _image("tiff", compression="tiff_lzw", exif=_turned()),
    _image("webp"),
    _image("ppm"),
    _image("tga"),
    _image("ico", "RGBA"),
    _EPS,
)


def _check(pixels: np.ndarray) -> None:
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= _MOST


@target(*_SEEDS)
def photo(content):
    with _small_images(), documented("photo.jpg"):
        _check(photograph.to_pixels(write("photo.jpg", content)))


@target(*_SEEDS)
def record_image(content):
    with _small_images(), documented("record 5"):
        _check(preprocess.decode_image(content, "record 5"))


@target(*_SEEDS)
def built_image(content):
    """Reads an image's size, then the image, as a builder does."""
    path = write("built.jpg", content)
    with _small_images(), documented():
        size = images.read_size(path)
        fields.check_upright(path)
        with Image.open(images.read_image(path)) as stored:
            assert stored.mode == "RGB" and (stored.height, stored.width) == size
