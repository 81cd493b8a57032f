import base64
import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from restr_jax.demo import markup
from restr_jax.demo.answers import Answer, Photo
from restr_jax.inference.segmenter import EncodedImage, Prediction

PIXELS = np.zeros((4, 8, 3), np.uint8)


@pytest.fixture
def photo():
    image = EncodedImage.__new__(EncodedImage)
    image.pixels = np.zeros((4, 8, 3), np.uint8)
    return Photo(image, pathlib.Path("a.jpg"), (40, 80), 0.0123)


def answer(expression, unknown=(), unread=0, top=9.0):
    """Returns a model's answer with the upper half of 4 x 8 pixels in the mask."""
    words = tuple(expression.split())
    logits = np.full((4, 8), -9.0, np.float32)
    logits[:2] = top
    attention = np.arange(1, len(words) + 1, dtype=np.float32)
    outputs = (logits, np.zeros((2, 2), np.float32), attention / attention.sum())
    prediction = Prediction(
        expression, words, tuple(unknown), outputs, PIXELS, "stretch", 0.5
    )
    return Answer(
        expression, prediction, np.full((2, 4), 0.5, np.float32), unread, "", 0.004
    )


def test_an_entry_shows_words_attention_score_area_and_time(photo):
    told = markup.write_answers(photo, [answer("red circle")])
    assert "red <small>33%</small>" in told and "circle <small>67%</small>" in told
    # The first colour; the most attended word is the strongest.
    assert "rgba(213, 94, 0, 0.3)" in told and "rgba(213, 94, 0, 0.6)" in told
    assert "50.0% of the image, score 1.00, 4 ms" in told
    assert "80 × 40 pixels, encoded once in 12 ms; all masks in 4 ms." in told
    assert told.count("data:image/png;base64,") == 1
    assert "does not know" not in told and "ignored" not in told


def test_an_entry_without_a_mask_shows_the_highest_probability(photo):
    told = markup.write_answers(photo, [answer("zebra", top=-np.log(3.0))])
    message = "the highest probability is 0.25, below the threshold of 0.50."
    assert f"Nothing found: {message}" in told
    assert "of the image" not in told
    assert "Nothing found" not in markup.write_answers(photo, [answer("red")])


def test_the_legend_has_the_colours_of_the_masks(photo):
    told = markup.write_answers(photo, [answer("red"), answer("blue")])
    first, second = told.split("<li>")[1:]
    assert "background: rgb(213, 94, 0)" in first and "<b>red</b>" in first
    assert "background: rgb(0, 114, 178)" in second and "<b>blue</b>" in second


def test_masks_are_described_for_those_who_do_not_see_them(photo):
    found = [answer("red"), answer("zebra", top=-9.0), answer("blue")]
    assert markup.describe(found) == (
        "the image with masks: red, 50.0% of the image; blue, 50.0% of the image"
    )
    assert markup.describe(found[1:2]) == "the image without masks"
    picture = markup.write_picture(photo.image.pixels, 'a "red" <b>')
    assert 'alt="a &quot;red&quot; &lt;b&gt;"' in picture


def test_unknown_and_unread_words_are_named(photo):
    told = markup.write_answers(
        photo, [answer("zebra circle zebra", unknown=("zebra", "zebra"), unread=2)]
    )
    assert "The model does not know: zebra." in told
    assert "The model reads 3 words; the last 2 are ignored." in told
    assert told.count('class="word unknown"') == 2


def test_an_expression_without_an_answer_shows_the_reason(photo):
    told = markup.write_answers(photo, [Answer("?", None, None, 0, "<why>", 0.0)])
    assert "&lt;why&gt;" in told and "all masks in 0 ms" in told


def test_typed_text_is_escaped(photo):
    typed = "<img/src=x/onerror=alert(1)> \" '"
    told = markup.write_answers(photo, [answer(typed, unknown=typed.split())])
    for part in (told, markup.write_error(typed), markup.write_note(typed)):
        assert "onerror" in part and "<img/" not in part
        assert "&quot;" in part and "&#x27;" in part


def test_a_picture_is_part_of_the_page():
    pixels = np.full((30, 20, 3), (250, 10, 10), np.uint8)
    content = markup.write_picture(pixels).split("base64,")[1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        np.testing.assert_allclose(np.asarray(image), pixels, atol=4)


def test_words_are_listed_by_their_beginning():
    words = ["circle", "red", "reddish", "square"]
    assert ">circle, red, reddish, square.<" in markup.write_words(words)
    assert ">red, reddish.<" in markup.write_words(words, " Red")
    assert "no word that begins with &lt;z." in markup.write_words(words, "<z")
    many = markup.write_words([f"w{i:03}" for i in range(1_100)])
    assert "w059, and 1,040 more." in many and "w060" not in many


def test_the_model_is_named_with_its_domain():
    text = markup.write_model("<runs>", "drawings of shapes only")
    assert "<b>&lt;runs&gt;</b>" in text and "It knows drawings of shapes only." in text
