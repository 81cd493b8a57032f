"""Targets that read masks: RLE, polygons, and mask files."""

import io
import json

import numpy as np
import scipy.io
from fuzz.contract import documented, target, write
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.data import preprocess
from tfds_builders import masks
from tfds_builders.rle import read_runs

HEIGHT, WIDTH = 6, 8
SIZE = [HEIGHT, WIDTH]
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[1:4, 1:3] = MASK[0:2, 5:8] = True
RLE = b"7330;OF0000"


def json_of(*values) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def check_counts(counts: str, size: list[int]) -> None:
    """Asserts that pycocotools reads an RLE and that its mask is not empty."""
    read_runs(counts, *size)
    decoded = mask_util.decode({"size": size, "counts": counts.encode()})
    assert decoded.shape == tuple(size) and decoded.any()


@target(
    *json_of(
        [[1, 1, 3, 1, 3, 4, 1, 4], [5, 0, 8, 0, 8, 2, 5, 2]],
        {"size": SIZE, "counts": [7, 3, 3, 3, 14, 2, 4, 2, 4, 2, 4]},
        {"size": SIZE, "counts": RLE.decode()},
        [{"size": SIZE, "counts": [7, 3, 3, 3, 32]}, [5, 0, 8, 0, 8, 2, 5, 2]],
        [{"size": SIZE, "counts": [7, 0, 0, 3, 38]}] * 2,
    )
)
def segmentation(content):
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    with documented():
        check_counts(masks.encode_segmentation(value, HEIGHT, WIDTH), SIZE)


def _by_hand(counts: bytes) -> np.ndarray:
    """Decodes an RLE in plain Python, character by character."""
    runs, value, shift = [], 0, 0
    for char in counts:
        value |= (char - 48 & 31) << shift
        shift += 5
        if not char - 48 & 32:
            value -= (1 << shift) if char - 48 & 16 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    flat = [k % 2 == 1 for k, run in enumerate(runs) for _ in range(run)]
    assert len(flat) == HEIGHT * WIDTH
    return np.reshape(flat, (WIDTH, HEIGHT)).T


@target(RLE, b"`1", b"0`1", b"7300010;OF0000", b"7330;OF000o")
def rle(content):
    with documented():
        read_runs(content, HEIGHT, WIDTH)
        decoded = preprocess.decode_mask(content, (HEIGHT, WIDTH))
        np.testing.assert_array_equal(decoded, _by_hand(content))


@target(RLE, b"`1", b"o", b"7330;OF000o", b"\x00\xff")
def built_mask(content):
    """Decodes a record's mask, which nothing has checked since the build."""
    with documented():
        decoded = preprocess.decode_mask(content, (HEIGHT, WIDTH))
        assert decoded.shape == (HEIGHT, WIDTH) and decoded.dtype == bool
        np.testing.assert_array_equal(decoded, _by_hand(content))


def _mat(**how) -> bytes:
    file = io.BytesIO()
    segimg = np.where(MASK, 0, -1).astype(np.int16)
    scipy.io.savemat(file, {"other": np.arange(3), "segimg_t": segimg}, **how)
    return file.getvalue()


@target(_mat(), _mat(do_compression=True), _mat(format="4"))
def mask_mat(content):
    with documented():
        counts = masks.read_mask_file(write("mask.mat", content), HEIGHT, WIDTH)
        check_counts(counts, SIZE)


@target(
    *(encoded(Image.fromarray(MASK).convert(mode)) for mode in ("1", "L", "RGBA")),
    encoded(Image.fromarray(MASK).convert("P"), "gif"),
    encoded(Image.fromarray(MASK.astype(np.uint16))),
)
def mask_image(content):
    with documented():
        counts = masks.read_mask_file(write("drawn.png", content), HEIGHT, WIDTH)
        check_counts(counts, SIZE)
