import jax
import numpy as np
import pytest
from PIL import Image

import restr_jax


class Tensor:
    """An array of another library, as PyTorch's tensors are."""

    def __init__(self, pixels, device="cpu"):
        self.pixels, self.device = pixels, device

    def __array__(self, dtype=None, copy=None):
        if self.device != "cpu":
            raise TypeError("can't convert cuda:0 to numpy; use Tensor.cpu()")
        return self.pixels


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(model, pixels):
    return model.encode(pixels).segment("red circle").logits


def test_one_call_segments_any_kind_of_image(
    model, pixels, expected, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "scene.png"
    Image.fromarray(pixels).save(path)
    images = [path, str(path), "~/scene.png", Image.open(path), pixels]
    images += [jax.numpy.asarray(pixels), Tensor(pixels), model.encode(pixels)]
    for image in images:
        found = model.segment(image, "red circle")
        np.testing.assert_array_equal(found.logits, expected)
        np.testing.assert_array_equal(np.asarray(found._pixels), pixels)


def test_several_texts_and_images_return_lists(model, pixels, expected):
    found = model.segment(pixels, ("red circle", "square"), threshold=0.9)
    assert [x.text for x in found] == ["red circle", "square"]
    assert found[0].threshold == 0.9
    np.testing.assert_array_equal(found[0].logits, expected)
    encoded = model.encode((Tensor(pixels), jax.numpy.asarray(pixels)))
    assert [repr(image) for image in encoded] == ["EncodedImage(56 x 40 pixels)"] * 2
    assert model.segment(pixels, []) == [] and model.encode([]) == []


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (None, TypeError, r"An image is a path, .* not NoneType\.$"),
        (b"\x89PNG", TypeError, r"not bytes; open bytes with PIL\.Image\.open"),
        (3, TypeError, "not int"),
        ("https://example.org/a.jpg", ValueError, "is a URL; download the image"),
        ("absent.jpg", FileNotFoundError, "There is no file absent.jpg"),
        (np.zeros((4, 4), np.uint8), ValueError, r"not uint8 \[4, 4\]\.$"),
        (np.zeros((3, 4, 5), np.uint8), ValueError, "move the channels last"),
        (np.zeros((4, 5, 3)), ValueError, "float64.*convert its values to uint8"),
        (np.zeros((2, 4, 5, 3), np.uint8), ValueError, "give several as a list"),
        (Tensor(None, "cuda"), ValueError, r"cannot be read: can't .*Tensor\.cpu"),
    ],
)
def test_a_wrong_image_is_named_in_one_line(model, image, error, message):
    for call in (model.encode, lambda x: model.segment(x, "red circle")):
        with pytest.raises(error, match=message) as raised:
            call(image)
        assert "\n" not in str(raised.value)


def test_a_list_is_no_single_image(model, pixels):
    with pytest.raises(TypeError, match="not list"):
        model.segment([pixels], "red circle")


def test_a_wrong_text_is_named_in_one_line(model, pixels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("circle.jpg")
    Image.fromarray(pixels).save("circle", "PNG")
    image = model.encode(pixels)
    for text, name in ((None, "NoneType"), (3, "int"), (b"red", "bytes")):
        for given in (text, ["circle", text]):
            with pytest.raises(TypeError, match=f"A text is a str, .* not {name}"):
                image.segment(given)
    with pytest.raises(TypeError, match=r"A text is a str, .* not \w*Path"):
        model.segment("circle.jpg", tmp_path / "circle.jpg")
    with pytest.raises(ValueError, match="'circle.jpg' is the path of an image; give"):
        model.segment("red circle", "circle.jpg")
    # The word remains a text, even if a file has its name.
    assert image.segment("circle").text == "circle"
    assert image.segment("circle.png").unknown


def test_unknown_words_are_logged_once_with_the_domain(pixels, caplog):
    with caplog.at_level("INFO"):
        model = restr_jax.load("shapes")
    domain = "drawings of coloured shapes only, no photographs"
    assert f"loaded the model shapes, which knows {domain}" in caplog.text
    caplog.clear()
    for _ in range(2):
        model.segment(pixels, ["zebra circle", "shiny circle", "the zebra square"])
    (record,) = caplog.records
    said = f"shapes does not know 'zebra', 'shiny'; it knows {domain}"
    assert record.levelname == "WARNING" and record.getMessage() == said
    model.segment(pixels, "striped circle")
    assert "does not know 'striped'" in caplog.messages[-1]
    with pytest.raises(ValueError, match=f"knows none .* shapes knows {domain}"):
        model.segment(pixels, "zebra")
    with pytest.raises(ValueError, match="is empty") as raised:
        model.segment(pixels, "  ")
    assert "coloured" not in str(raised.value)


def test_words_beyond_the_maximum_are_reported(model, pixels, caplog):
    long = "circle " * 23
    found = model.segment(pixels, ["red circle", long])
    said = f"{long!r} has 23 words, and only the first 10 are read"
    assert said in caplog.messages and len(found[1].words) == 10


def test_objects_describe_themselves_in_one_line(model, pixels):
    assert repr(model) == (
        "Segmenter(shapes: 1,063,776 parameters, input 64 x 64, 20 words; trained on "
        "generated scenes of circles, squares and triangles; knows drawings of "
        "coloured shapes only, no photographs)"
    )
    assert repr(model.trained) == "Trained(shapes: 1,063,776 parameters, 22 entries)"
    assert model.encode(pixels)._repr_png_().startswith(b"\x89PNG")
    assert (model.name, model.domain[:8]) == ("shapes", "drawings")
    assert set(restr_jax.__all__) < set(dir(restr_jax))
    assert all(getattr(restr_jax, name) for name in restr_jax.__all__)
