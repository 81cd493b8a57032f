"""Builders, training, scoring and prediction see the same pixels of a file."""

import numpy as np
import pytest
from PIL import Image

from restr_jax.data import photograph, preprocess
from tfds_builders import fields, images, masks


def grey16(high=65_535, dtype=np.uint16):
    return Image.fromarray(np.linspace(0, high, 20).astype(dtype).reshape(4, 5))


def big_endian():
    content = np.asarray(grey16()).astype(">u2").tobytes()
    return Image.frombytes("I;16B", (5, 4), content)


def colours(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def see_through(mode):
    image = colours("RGB").convert("RGBA")
    image.putalpha(Image.fromarray(np.full((4, 5), 128, np.uint8)))
    return image.convert(mode)


# Every mode that Pillow's readers return, in a format that has it.
FILES = {
    "1": (colours("1"), "png"),
    "L": (colours("L"), "png"),
    "grey JPEG": (colours("L"), "jpeg"),
    "LA": (see_through("LA"), "png"),
    "P": (colours("P"), "gif"),
    "PA": (colours("P").convert("PA"), "im"),
    "RGB": (colours("RGB"), "png"),
    "RGBA": (see_through("RGBA"), "webp"),
    "CMYK": (colours("CMYK"), "jpeg"),
    "YCbCr": (colours("YCbCr"), "im"),
    "LAB": (Image.new("LAB", (5, 4), (99, 150, 100)), "tiff"),
    "I;16": (grey16(), "png"),
    "I;16 TIFF": (grey16(), "tiff"),
    "I;16B": (big_endian(), "tiff"),
    "I of 16 bits": (grey16(dtype=np.int32), "tiff"),
    "I of 8 bits": (grey16(200, np.int32), "tiff"),
    "I, PGM": (grey16(), "ppm"),
    "F to 255": (grey16(255, np.float32), "tiff"),
    "F to 1": (grey16(1, np.float32), "tiff"),
}


@pytest.mark.parametrize("name", FILES)
def test_training_and_prediction_see_the_same_pixels(name, tmp_path):
    image, kind = FILES[name]
    image.save(tmp_path / "a", kind)
    with Image.open(tmp_path / "a") as opened:
        assert opened.mode == name.split()[0].strip(",") or "JPEG" in name
    predicted = photograph.to_pixels(tmp_path / "a")
    assert images.check_size(tmp_path / "a", (4, 5)) > 0
    trained = preprocess.decode_image(images.read_image(tmp_path / "a").read(), "it")
    np.testing.assert_array_equal(trained, predicted)
    drawn_on, kept = images.read_pixels(tmp_path / "a")
    np.testing.assert_array_equal(drawn_on, predicted)
    assert (kept is not None) == (name == "RGB")


def test_values_of_more_bits_keep_their_grey_levels(tmp_path):
    levels = np.linspace(0, 65_535, 20).astype(int) // 256
    for name in ("I;16", "I;16 TIFF", "I;16B", "I of 16 bits", "I, PGM"):
        image, kind = FILES[name]
        image.save(tmp_path / "a", kind)
        pixels = photograph.to_pixels(tmp_path / "a")
        assert pixels[..., 1].ravel().tolist() == levels.tolist(), name
    ramp = np.array([[0, 0.25, 0.5, 1]], np.float32)
    for scale in (1, 255):
        pixels = images.to_rgb(Image.fromarray(ramp * scale))
        assert pixels[0, :, 0].tolist() == [0, 64, 128, 255]
    ints = Image.fromarray(np.array([[0, 7, 255]], np.int32))
    assert images.to_rgb(ints)[0, :, 0].tolist() == [0, 7, 255]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[0, 4095]], np.uint16), "uint16 run from 0 to 4095"),  # 12 bits
        (np.array([[0, 255]], np.uint16), "uint16 run from 0 to 255"),
        (np.array([[-5, 40_000]], np.int32), "int32 run from -5 to 40000"),
        (np.array([[0, 2**20]], np.int32), r"int32 run from 0 to 1.04858e\+06"),
        (np.array([[0, 1000]], np.int32), "or 0 .black. to 65,535 .white., to at lea"),
        (np.array([[0.5, np.nan]], np.float32), "float32 run from nan to nan"),
        (np.array([[0.5, np.inf]], np.float32), "float32 run from 0.5 to inf"),
        (np.array([[-0.1, 1]], np.float32), "float32 run from -0.1 to 1"),
        (np.array([[0, 3.5]], np.float32), "from 0 to 3.5, and have to run from 0 .bl"),
        (np.array([[0, 0.01]], np.float32), "float32 run from 0 to 0.01"),
    ],
)
def test_values_of_unknown_white_are_refused_before_a_build(values, said, tmp_path):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=said):
        images.check_size(tmp_path / "a.tif", (1, 2))
    with pytest.raises(ValueError, match=said):
        images.read_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a.tif cannot be read: its .*{said}"):
        photograph.to_pixels(tmp_path / "a.tif")


def test_transparent_pixels_show_white_and_opaque_ones_are_unchanged(tmp_path):
    opaque = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([opaque, opaque[::-1], opaque.T], -1))
    image.putalpha(255)
    np.testing.assert_array_equal(
        images.to_rgb(image), np.asarray(image.convert("RGB"))
    )
    dark = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    dark.putpixel((1, 0), (100, 0, 255, 128))
    for mode in ("RGBA", "RGBa"):
        pixels = images.to_rgb(dark.convert(mode))
        assert abs(pixels[0] - np.array([[255, 255, 255], [177, 127, 255]])).max() < 2
    grey = dark.convert("LA").convert("La")
    assert images.to_rgb(grey)[0, 0].tolist() == [255, 255, 255]
    # A palette, or a colour of the file, can be transparent as well.
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "p.gif", transparency=1)
    Image.new("RGB", (2, 1)).save(tmp_path / "rgb.png", transparency=(0, 0, 0))
    for name in ("p.gif", "rgb.png"):
        pixels = photograph.to_pixels(tmp_path / name)
        assert (pixels == 255).all()
        stored = images.read_image(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(Image.open(stored)), pixels)


def turn(tmp_path, kind, **how):
    path = tmp_path / f"turned.{kind}"
    exif = Image.Exif()
    exif[0x0112] = 6
    colours("RGB").save(path, exif=exif, **how)
    return path


def late_exif(tmp_path):
    """Writes a PNG file whose EXIF data follow its pixels."""
    content = turn(tmp_path, "png").read_bytes()
    start = content.index(b"eXIf") - 4
    size = 12 + int.from_bytes(content[start : start + 4])
    chunk = content[start : start + size]
    rest = content.replace(chunk, b"")
    path = tmp_path / "late.png"
    path.write_bytes(rest[:-12] + chunk + rest[-12:])  # IEND has 12 bytes.
    return path


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "late", "xmp"])
def test_every_image_that_prediction_turns_is_called_rotated(kind, tmp_path):
    if kind == "late":
        path = late_exif(tmp_path)
    elif kind == "xmp":
        path = tmp_path / "a.jpg"
        colours("RGB").save(path, xmp=b'<x tiff:Orientation="6"/>')
    else:
        path = turn(tmp_path, kind)
    assert photograph.to_pixels(path).shape == (5, 4, 3)
    with pytest.raises(ValueError, match=r"stored rotated \(EXIF orientation 6\)"):
        fields.check_upright(path)


def test_a_turned_image_of_a_published_set_is_stored_as_its_masks_lie(tmp_path):
    path = turn(tmp_path, "jpg", quality=95)
    with Image.open(path) as image:
        wanted = np.asarray(image)
    stored = images.read_image(path)
    with Image.open(stored) as image:
        assert images.orientation(image) == 1
    assert wanted.shape == (4, 5, 3)
    np.testing.assert_array_equal(
        preprocess.decode_image(stored.getvalue(), "it"), wanted
    )


def test_a_value_that_is_no_turn_is_upright():
    image = Image.new("RGB", (5, 4))
    for value, turned in ((0, 1), (1, 1), (8, 8), (9, 1)):
        image.getexif()[0x0112] = value
        assert images.orientation(image) == turned


def test_a_turned_mask_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("L", (5, 4), 255).save(tmp_path / "mask.png", exif=exif)
    with pytest.raises(ValueError, match="stored rotated .EXIF orientation 3"):
        masks.read_mask_file(tmp_path / "mask.png", 4, 5)
