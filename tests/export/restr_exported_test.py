"""Tests the loader without programs, and its error messages."""

import pathlib
import sys
from unittest import mock

import numpy as np
import pytest

import restr_jax.export
from restr_jax.data import preprocess, text


@pytest.fixture(scope="module")
def restr_exported():
    folder = pathlib.Path(restr_jax.export.__file__).parent
    with mock.patch.dict(sys.modules, restr_text=text):
        with mock.patch.object(sys, "path", [str(folder), *sys.path]):
            import restr_exported
    return restr_exported


@pytest.fixture
def make(restr_exported, small):
    """Returns a function that makes a model whose programs return zeros."""

    def make(size=(32, 48), resize="stretch"):
        about = {
            "image_size": size,
            "resize": resize,
            "max_words": 6,
            "threshold": 0.5,
        }

        def run(visual, tokens):
            return [np.zeros((*tokens.shape[:2], *size), np.float32)] * 3

        return restr_exported.Model(about, small.vocabulary, lambda x: x, run)

    return make


@pytest.mark.parametrize("mode", preprocess.RESIZE_MODES)
@pytest.mark.parametrize("size", [(32, 48), (20, 90), (427, 640), (3, 1)])
@pytest.mark.parametrize("target", [(32, 48), (64, 64)])
def test_images_are_fitted_and_logits_restored_as_in_training(make, mode, size, target):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size, 3), np.uint8)
    model = make(target, mode)
    given, expected = model.fit(image), preprocess.fit_image(image, target, mode)
    assert given.shape == expected.shape and given.dtype == expected.dtype
    # Pillow 11 and 12 resize columns first, like the loader; 13 uses the cheaper order.
    assert np.abs(given - expected).max() < 1.01 / 127.5
    if mode != "released" and size[1] >= target[1] and size[0] <= target[0]:
        np.testing.assert_array_equal(given, expected)
    if mode == "released":
        np.testing.assert_allclose(given, expected, atol=1e-6)
    logits = random.normal(0, 5, target).astype(np.float32)
    expected = preprocess.restore(logits, size, mode)
    given = model.restore(logits, size)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_the_threshold_applies_to_the_probability(make):
    image = np.zeros((5, 7, 3), np.uint8)
    for threshold, expected in ((None, True), (0.4, True), (0.6, False)):
        one, other = make().segment(image, ["red", "the circle"], threshold)
        assert one.mask.shape == other.mask.shape == (5, 7)
        assert one.mask.dtype == bool and one.probability.dtype == np.float32
        assert (one.mask == expected).all() and (one.probability == 0.5).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "is float32.*uint8 RGB"),
        (np.zeros((4, 4), np.uint8), r"is uint8 \[4, 4\];"),
        (np.zeros((4, 4, 4), np.uint8), r"is uint8 \[4, 4, 4\];"),
    ],
)
def test_an_array_that_is_not_an_image_is_refused(make, image, message):
    with pytest.raises(ValueError, match=message):
        make().segment(image, ["red"])


@pytest.mark.parametrize(
    ("sentences", "threshold", "message"),
    [
        ([" "], None, "is empty"),
        (["zebra"], None, "knows none of the words"),
        ("the red circle", None, "list of expressions"),
        (["red"], 1.5, "threshold is 1.5"),
        (["red"], 0.0, "threshold is 0.0"),
    ],
)
def test_invalid_expressions_and_thresholds_are_refused(
    make, sentences, threshold, message
):
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        make().segment(image, sentences, threshold)


def test_batches_of_another_shape_or_type_are_refused(make):
    model = make()
    for wrong in (np.zeros((1, 32, 32, 3), np.float32), np.zeros((1, 32, 48, 3))):
        with pytest.raises(ValueError, match="prepare them with fit"):
            model.encode(wrong)
    visual = np.zeros((1, 24, 16), np.float32)
    for wrong in (np.ones((1, 1, 5), np.int32), np.ones((1, 1, 6))):
        with pytest.raises(ValueError, match="make their rows with read_words"):
            model.run(visual, wrong)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "restr.json is damaged"),
        (b"{", "restr.json is damaged"),
        (b"[]", "restr.json is damaged"),
        (b'{"format": []}', "has the format"),
        (b'{"format": "restr_jax onnx 0"}', "'restr_jax onnx 0', not one of"),
        (b'{"format": "restr_jax onnx 1", "files": {}}', "restr.json is damaged"),
    ],
)
def test_a_folder_without_an_export_is_refused(
    restr_exported, tmp_path, content, message
):
    (tmp_path / "restr.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        restr_exported.load(tmp_path)
