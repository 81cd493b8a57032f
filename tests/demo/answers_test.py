import json

import numpy as np
import pytest
from PIL import Image

import restr_jax
from restr_jax.demo import answers
from restr_jax.drawing import overlay
from restr_jax.inference.segmenter import Segmenter
from tfds_builders.shapes import scenes


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


@pytest.fixture
def scene(tmp_path):
    """Returns the path of a scene, 64 x 64."""
    path = tmp_path / "scene.png"
    Image.fromarray(scenes.make_scene(np.random.default_rng(7), 64, 9).image).save(path)
    return str(path)


def test_each_nonblank_line_is_an_expression():
    assert answers.read_expressions(" red circle \n\n\t\nсиний круг\r\n") == [
        "red circle",
        "синий круг",
    ]
    assert answers.read_expressions("") == []


def test_too_many_characters_or_expressions_are_refused():
    assert len(answers.read_expressions("x" * answers.MAX_CHARACTERS)) == 1
    with pytest.raises(ValueError, match="The text has 1,001 characters, but at most"):
        answers.read_expressions("x" * (answers.MAX_CHARACTERS + 1))
    lines = ["x"] * answers.MAX_EXPRESSIONS
    assert len(answers.read_expressions("\n".join(lines))) == 7
    with pytest.raises(ValueError, match="has 8 expressions, one per line, but at"):
        answers.read_expressions("\n".join([*lines, "x"]))


def test_large_images_shrink_to_the_screen_and_tiny_ones_grow_by_whole_pixels():
    sizes = {(3000, 1500): (1024, 512), (300, 400): (300, 400), (64, 48): (512, 384)}
    sizes |= {(20_000, 2): (1024, 1)}
    for size, expected in sizes.items():
        fitted = answers.fit_screen(np.zeros((*size, 3), np.uint8))
        assert fitted.shape == (*expected, 3)
    tiny = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(answers.fit_screen(tiny)[::256, ::256], tiny)


def test_the_model_sees_the_whole_photo_whatever_the_screens_size(model, tmp_path):
    path = tmp_path / "large.png"
    pixels = scenes.make_scene(np.random.default_rng(3), 64, 9).image
    Image.fromarray(pixels).resize((2048, 1024), Image.Resampling.BICUBIC).save(path)
    photo = answers.open_photo(model, str(path))
    assert photo.size == (1024, 2048)
    assert photo.image.pixels.shape == (512, 1024, 3)
    (found,) = answers.answer(model, photo, ["large circle"], 0.5)
    expected = model.encode(path).segment("large circle")
    np.testing.assert_array_equal(
        found.prediction.patch_probability, expected.patch_probability
    )
    assert found.prediction.mask.shape == (512, 1024)
    assert (found.prediction.mask == expected.mask[::2, ::2]).mean() > 0.99


def test_a_photo_taken_sideways_is_shown_upright(model, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # Rotated by 90 degrees.
    image = Image.new("RGB", (800, 400), "blue")
    image.paste("red", (0, 0, 100, 400))
    image.save(tmp_path / "turned.jpg", exif=exif)
    photo = answers.open_photo(model, str(tmp_path / "turned.jpg"))
    assert photo.size == (800, 400)
    assert photo.image.pixels[20, 200].argmax() == 0  # Red is at the top.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", r"^photo\.png is not a readable image"),
        (None, r"^There is no file photo\.png"),
    ],
)
def test_a_file_without_an_image_is_named_without_its_folder(
    model, tmp_path, content, message
):
    path = tmp_path / "photo.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        answers.open_photo(model, str(path))


def test_one_bad_expression_does_not_stop_the_others(model, scene):
    photo = answers.open_photo(model, scene)
    found = answers.answer(
        model, photo, ["🐶 собака", ".", "the large zebra circle"], 0.5
    )
    assert [bool(x.error) for x in found] == [True, True, False]
    assert "knows none of the words" in found[0].error and "empty" in found[1].error
    assert found[2].prediction.unknown == ("zebra",)
    drawn = answers.draw(photo, found)
    mask = found[2].prediction.mask
    assert mask.any()
    # In its own line's colour, although it is the only mask.
    assert (drawn[mask] == overlay.color_of(2)).all(-1).any()
    for other in (0, 1):
        assert not (drawn == overlay.color_of(other)).all(-1).any()


def test_without_masks_the_image_is_unchanged(model, scene):
    photo = answers.open_photo(model, scene)
    found = answers.answer(model, photo, ["zebra"], 0.5)
    np.testing.assert_array_equal(answers.draw(photo, found), photo.image.pixels)


def test_unread_words_are_counted(model, scene):
    photo = answers.open_photo(model, scene)
    most = model.trained.config.data.max_words
    found = answers.answer(model, photo, ["red " * most, "red " * (most + 3)], 0.5)
    assert [x.unread for x in found] == [0, 3]


def test_patches_have_the_layout_of_the_image(model, tmp_path):
    config = model.trained.config.copy_and_resolve_references()
    config.data.resize = "letterbox"
    boxed = Segmenter(model.trained._replace(config=config))
    Image.new("RGB", (240, 120), "grey").save(tmp_path / "wide.png")
    for segmenter, rows in ((model, slice(0, 8)), (boxed, slice(2, 6))):
        photo = answers.open_photo(segmenter, str(tmp_path / "wide.png"))
        (found,) = answers.answer(segmenter, photo, ["square"], 0.5)
        assert found.patches.shape == (54, 108)
        whole = found.prediction.patch_probability[rows]
        # The centres of the first and the last patch.
        high, wide = (side / n for side, n in zip((54, 108), whole.shape, strict=True))
        for row, column in ((0, 0), (-1, -1)):
            y, x = int((row % len(whole) + 0.5) * high), int((column % 8 + 0.5) * wide)
            assert found.patches[y, x] == pytest.approx(whole[row, column], abs=0.02)


def test_another_threshold_gives_its_mask_without_a_run(model, scene, monkeypatch):
    photo = answers.open_photo(model, scene)
    (half,) = answers.answer(model, photo, ["circle"], 0.5)
    monkeypatch.setattr(model, "segment", lambda *_: pytest.fail("the model ran"))
    (low,) = answers.answer(model, photo, ["circle"], 0.02)
    (none,) = answers.answer(model, photo, ["circle"], 0.99999)
    probability = half.prediction.probability
    for found, threshold in ((half, 0.5), (low, 0.02), (none, 0.99999)):
        assert found.prediction.threshold == threshold
        expected = probability >= threshold
        np.testing.assert_array_equal(found.prediction.mask, expected)
    assert half.prediction.mask.sum() < low.prediction.mask.sum()
    assert not none.prediction.found
    assert none.prediction.score == pytest.approx(probability.max())
    # Only the last answers are kept.
    answers.answer(model, photo, [], 0.5)
    assert photo.answered == {}


def test_saved_files_are_those_of_the_command_at_the_images_own_size(model, tmp_path):
    path, out = tmp_path / "photo.jpg", tmp_path / "out"
    pixels = scenes.make_scene(np.random.default_rng(3), 64, 9).image
    Image.fromarray(pixels).resize((1500, 600)).save(path)
    photo = answers.open_photo(model, str(path))
    found = answers.answer(model, photo, ["circle", "\N{SNOWMAN}", "square"], 0.5)
    files = answers.save(model, photo, found, 0.3, out)
    assert [file.name for file in files] == [
        "photo-1-overlay.png",
        "photo-1.png",
        "photo-2-overlay.png",
        "photo-2.png",
        "predictions.jsonl",
    ]
    rows = list(map(json.loads, files[-1].read_text().splitlines()))
    for row, text in zip(rows, ("circle", "square"), strict=True):
        assert (row["image"], row["expression"]) == ("photo.jpg", text)
        assert row["threshold"] == 0.3 and row["mask"]["size"] == [600, 1500]
        mask = np.asarray(Image.open(out / row["mask_file"]))
        expected = model.encode(path).segment(text, threshold=0.3).mask
        np.testing.assert_array_equal(mask, 255 * expected.astype(np.uint8))
        assert row["area"] == expected.sum() > 0


def test_nothing_is_saved_without_a_mask_or_an_image(model, scene, tmp_path):
    photo = answers.open_photo(model, scene)
    unknown = answers.answer(model, photo, ["\N{SNOWMAN}"], 0.5)
    for found in ([], unknown):
        with pytest.raises(ValueError, match="no mask to save; describe an object"):
            answers.save(model, photo, found, 0.5, tmp_path / "out")
    found = answers.answer(model, photo, ["circle"], 0.5)
    photo.path.unlink()
    with pytest.raises(ValueError, match="has deleted the image; choose it again"):
        answers.save(model, photo, found, 0.5, tmp_path / "out")
