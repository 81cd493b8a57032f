import numpy as np
import pytest
from PIL import Image

from restr_jax.data import photograph


def test_a_photograph_is_rotated_upright(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was rotated by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    opened = Image.open(tmp_path / "a.png")
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), opened):
        upright = photograph.to_pixels(image)
        assert upright.shape == (6, 4, 3) and upright.dtype == np.uint8
        assert upright[:2].min() == 255 and upright[2:].max() == 0


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(tmp_path):
    grey = np.array([[0, 256, 32768, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    pixels = photograph.to_pixels(tmp_path / "a.png")
    assert pixels[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F"])
def test_every_kind_of_pil_image_is_accepted(mode):
    image = Image.fromarray(np.full((3, 5, 3), 255, np.uint8)).convert(mode)
    pixels = photograph.to_pixels(image)
    assert pixels.shape == (3, 5, 3) and (pixels == 255).all()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
    ],
)
def test_an_array_of_another_kind_is_refused(array, said):
    with pytest.raises(ValueError, match=said):
        photograph.to_pixels(array)


def test_a_file_without_an_image_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*absent.png"):
        photograph.to_pixels(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        photograph.to_pixels(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a.jpg is not a readable image"):
        photograph.to_pixels(tmp_path / "a.jpg")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"b.png is damaged"):
        photograph.to_pixels(tmp_path / "b.png")


def test_an_image_that_is_too_large_is_refused_before_it_is_decoded(tmp_path):
    # One bit per pixel: 400 million pixels in a small file, 1.2 GB as RGB.
    huge = Image.new("1", (20_000, 20_000))
    huge.save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match=r"has 20000 x 20000 pixels, and at most 200"):
        photograph.to_pixels(tmp_path / "huge.png")
