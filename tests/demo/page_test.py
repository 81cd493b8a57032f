import pytest
from PIL import Image

import restr_jax
from restr_jax import shipped
from restr_jax.inference import segmenter

gr = pytest.importorskip("gradio")
from restr_jax.demo import answers, markup, page  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


def test_examples_belong_to_the_model_that_learned_them(model, tmp_path, monkeypatch):
    examples = page.find_examples(model)
    assert len(examples) == 4
    for path, text in examples:
        photo = answers.open_photo(model, path)
        found = answers.answer(model, photo, answers.read_expressions(text), 0.5)
        assert len(found) == 3 and all(x.prediction.mask.any() for x in found)
        assert not any(x.prediction.unknown for x in found)
    config = model.trained.config.copy_and_resolve_references()
    config.data.dataset = "gref"
    other = segmenter.Segmenter(model.trained._replace(config=config))
    assert page.find_examples(other) == []
    monkeypatch.setattr(shipped, "folder", tmp_path.joinpath)
    assert page.find_examples(model) == []


def test_errors_are_shown_instead_of_masks(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    photo = page.open_image(model, str(tmp_path / "a.png"))
    drawn, told = page.show_masks(model, photo, "red circle", 0.5)
    assert drawn == "" and "a.png is not a readable image" in told
    assert 'class="error"' in told


def test_what_cannot_be_saved_is_reported(model, tmp_path):
    Image.new("RGB", (60, 60), "red").save(tmp_path / "a.png")
    photo = page.open_image(model, str(tmp_path / "a.png"))
    for opened, text, message in (
        ("a.png is damaged.", "circle", "a.png is damaged."),
        (photo, "", "There is no mask to save; describe an object first."),
        (photo, "x\n" * 8, "The text has 8 expressions"),
    ):
        with pytest.raises(gr.Error, match=message):
            next(page.save_files(model, opened, text, 0.5))


def test_unusable_text_leaves_the_image_unchanged(model, tmp_path):
    Image.new("RGB", (600, 600), "red").save(tmp_path / "a.png")
    photo = page.open_image(model, str(tmp_path / "a.png"))
    for text, message in (
        ("", "Describe an object;"),
        (None, "Describe an object;"),
        (" \n ", "Describe an object;"),
        ("x" * 10_000, "The text has 10,000 characters"),
        ("x\n" * 8, "The text has 8 expressions"),
        ("\N{DOG FACE}", "knows none of the words"),
    ):
        drawn, told = page.show_masks(model, photo, text, 0.5)
        assert message in told
        assert drawn == markup.write_picture(photo.image.pixels)
