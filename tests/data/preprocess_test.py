import io

import numpy as np
import pytest
from PIL import Image

from restr_jax.data import preprocess
from tfds_builders import masks


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGB", "RGBA", "1"])
def test_every_kind_of_image_becomes_rgb(mode):
    image = Image.new("RGB", (6, 4), (200, 100, 50)).convert(mode)
    kind = "jpeg" if mode in ("L", "CMYK", "RGB") else "png"
    pixels = preprocess.decode_image(encoded(image, format=kind), "it")
    assert pixels.shape == (4, 6, 3) and pixels.dtype == np.uint8


# Pillow only warns about large images; the code refuses them.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_damaged_or_huge_image_is_refused_by_name(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), format="png")
    with pytest.raises(ValueError, match="photo 7 is truncated"):
        preprocess.decode_image(content[: len(content) // 2], "photo 7")
    with pytest.raises(ValueError, match="photo 7 is truncated"):
        preprocess.decode_image(b"no image", "photo 7")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    with pytest.raises(ValueError, match="64 x 64"):
        preprocess.decode_image(content, "photo 7")


def test_stretching_fills_and_letterboxing_centres():
    assert preprocess.inner_box((50, 100), (32, 32), "stretch") == (0, 0, 32, 32)
    assert preprocess.inner_box((50, 100), (32, 32), "letterbox") == (8, 0, 16, 32)
    assert preprocess.inner_box((100, 50), (32, 32), "letterbox") == (0, 8, 32, 16)
    with pytest.raises(ValueError, match="resize mode 'crop'"):
        preprocess.inner_box((5, 5), (32, 32), "crop")


def test_pixels_are_normalised_and_the_letterbox_is_grey():
    image = np.full((50, 100, 3), 255, np.uint8)
    fitted = preprocess.fit_image(image, (32, 32), "letterbox")
    assert fitted.dtype == np.float32 and fitted.shape == (32, 32, 3)
    assert (fitted[8:24] == 1).all() and not fitted[:8].any() and not fitted[24:].any()
    black = preprocess.fit_image(image * 0, (32, 32), "stretch")
    assert (black == -1).all()


def test_a_mask_of_the_right_size_is_unchanged():
    mask = np.random.default_rng(0).random((16, 16)) > 0.5
    np.testing.assert_array_equal(preprocess.fit_mask(mask, (16, 16), "stretch"), mask)


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(200, 300), (300, 200), (40, 30)])
def test_restoring_reverses_fitting(mode, size):
    mask = np.zeros(size, bool)
    mask[size[0] // 4 : size[0] // 2, size[1] // 3 : -4] = True
    fitted = preprocess.fit_mask(mask, (96, 96), mode)
    back = preprocess.restore(fitted.astype(np.float32) - 0.5, size, mode) >= 0
    assert back.shape == size
    # The edge is accurate to one pixel of the smaller size.
    assert (back & mask).sum() / (back | mask).sum() > 0.93
    constant = preprocess.restore(np.full((96, 96), 2.5, np.float32), size, mode)
    np.testing.assert_allclose(constant, 2.5, rtol=1e-6)


def test_masks_survive_their_encoding():
    mask = np.random.default_rng(0).random((7, 9)) > 0.7
    counts = masks.encode_mask(mask).encode()
    np.testing.assert_array_equal(preprocess.decode_mask(counts, (7, 9)), mask)


def test_colors_survive_the_conversion_to_rgb():
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    pixels = preprocess.decode_image(encoded(palette, format="png"), "it")
    assert (pixels == (200, 100, 50)).all()
    grey = encoded(Image.new("L", (6, 4), 90), format="jpeg")
    assert (preprocess.decode_image(grey, "it") == 90).all()
    # Full cyan ink removes red and nothing else.
    cyan = encoded(Image.new("CMYK", (6, 4), (255, 0, 0, 0)), format="jpeg")
    assert (abs(preprocess.decode_image(cyan, "it") - (0.0, 255, 255)) < 3).all()


def test_letterbox_margins_do_not_leak_into_the_image():
    logits = np.full((64, 64), -50.0, np.float32)
    logits[16:48] = 5.0  # the rows of an image twice as wide as high
    restored = preprocess.restore(logits, (100, 200), "letterbox")
    np.testing.assert_allclose(restored, 5.0, rtol=1e-6)


def test_an_image_is_placed_as_bytes_and_then_normalised():
    image = np.full((50, 100, 3), 200, np.uint8)
    placed, box = preprocess.place_image(image, (32, 32), "letterbox")
    assert placed.dtype == np.uint8 and box.tolist() == [8, 0, 16, 32]
    assert (placed[8:24] == 200).all() and not placed[:8].any()
    fitted = preprocess.normalise(placed, box)
    np.testing.assert_allclose(fitted[8:24], 72.5 / 127.5, rtol=1e-6)
    assert not fitted[:8].any() and not fitted[24:].any()


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
def test_mirroring_and_resizing_commute(mode):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 61, 3), np.uint8)
    mirrored = preprocess.mirror(image)
    assert (mirrored[:, 0] == image[:, -1]).all()
    one = preprocess.fit_image(mirrored, (32, 32), mode)
    other = preprocess.mirror(preprocess.fit_image(image, (32, 32), mode))
    np.testing.assert_allclose(one, other, atol=1.01 / 127.5)  # rounding to levels
