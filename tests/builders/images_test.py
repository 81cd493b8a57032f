import io

import numpy as np
import pytest
from PIL import Image

from tfds_builders import images


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_the_size_is_height_and_width(photograph):
    assert images.read_size(photograph) == (40, 50)
    images.check_size(photograph, (40, 50))


def test_a_file_that_is_not_an_image_is_refused(photograph, tmp_path):
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)  # 50 kB, 400 million pixels
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    for name, message in (
        ("absent.jpg", "is missing"),
        ("empty.jpg", "no bytes"),
        ("text.jpg", "not an image"),
        ("bomb.png", "400000000 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            images.read_size(tmp_path / name)
    with pytest.raises(ValueError, match="is 40 x 50 pixels, but .* say 50 x 40"):
        images.check_size(photograph, (50, 40))


def test_a_truncated_image_is_refused(photograph):
    photograph.write_bytes(photograph.read_bytes()[:900])
    assert images.read_size(photograph) == (40, 50)  # The header is intact.
    with pytest.raises(ValueError, match="truncated"):
        images.read_image(photograph)


def test_an_rgb_image_is_stored_as_it_was(photograph):
    assert images.read_image(photograph).read() == photograph.read_bytes()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_an_image_of_other_colors_is_stored_as_rgb(mode, tmp_path):
    image = Image.new("RGB", (5, 4), (200, 100, 40)).convert(mode)
    image.save(tmp_path / "a.jpg")
    stored = Image.open(images.read_image(tmp_path / "a.jpg"))
    assert stored.mode == "RGB" and stored.size == (5, 4)
    wanted = Image.open(io.BytesIO((tmp_path / "a.jpg").read_bytes())).convert("RGB")
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(wanted))
