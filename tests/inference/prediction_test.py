import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.inference import outputs
from restr_jax.inference.prediction import Prediction


def predict(height=4, width=8, top=9.0):
    """Returns a prediction whose mask is rows 1 and 2 of columns 2 to 4."""
    logits = np.full((height, width), -9.0, np.float32)
    logits[1:3, 2:5] = top
    pixels = np.full((height, width, 3), 100, np.uint8)
    arrays = logits, np.zeros((2, 2), np.float32), np.ones(1, np.float32)
    return Prediction("red", ("red",), ("red",), arrays, pixels, "stretch", 0.5)


def test_the_result_in_numbers():
    found = predict()
    probability = 1 / (1 + np.exp(-9.0))
    assert found.found and found.area == 6
    assert found.score == pytest.approx(probability)
    assert found.highest == pytest.approx(probability)
    assert repr(found) == "Prediction('red': 6 pixels, 18.8% of the image, score 1.00)"


def test_nothing_found_is_named_with_the_missed_probability():
    nothing = predict(top=-np.log(3.0))
    assert not nothing.found and nothing.area == 0
    assert nothing.highest == nothing.score == pytest.approx(0.25)
    said = "nothing found; the highest probability is 0.25, below 0.50"
    assert repr(nothing) == f"Prediction('red': {said})"


def test_another_threshold_gives_another_mask_and_keeps_the_first():
    found = predict(top=np.log(3.0))  # probability 0.75
    assert found.area == 6 and found.at(0.8).area == 0
    assert found.at(0.7).area == 6 and found.at(0.7).threshold == 0.7
    assert (found.area, found.threshold) == (6, 0.5)


def test_a_row_is_ready_for_json():
    row = json.loads(json.dumps(predict().to_dict()))
    mask = row.pop("mask")
    np.testing.assert_array_equal(mask_util.decode(mask), predict().mask)
    score = row.pop("score")
    assert score == pytest.approx(1 / (1 + np.exp(-9.0)))
    assert row == {
        "expression": "red",
        "unknown_words": ["red"],
        "found": True,
        "area": 6,
        "threshold": 0.5,
    }


def test_a_result_of_coco_has_box_area_and_a_mask():
    result = json.loads(json.dumps(predict().to_coco()))
    assert result["bbox"] == [2, 1, 3, 2] and result["area"] == 6
    assert type(result["segmentation"]["counts"]) is str
    assert mask_util.area(result["segmentation"]) == 6
    nothing = predict(top=-9.0).to_coco()
    assert nothing["bbox"] == [0, 0, 0, 0] and nothing["area"] == 0


def test_an_overlay_tints_the_mask_and_a_notebook_shows_it():
    pixels = np.asarray(predict(40, 80).overlay())
    # The mask and its line, drawn on grey; tests/drawing has the colours.
    assert (pixels[:5, :8] != 100).any(-1).mean() > 0.4
    assert (pixels[10:, 20:] == 100).all()
    with Image.open(io.BytesIO(predict(40, 80)._repr_png_())) as shown:
        assert shown.format == "PNG"
        np.testing.assert_array_equal(np.asarray(shown), pixels)


def test_a_large_overlay_is_shrunk_for_a_notebook():
    with Image.open(io.BytesIO(predict(512, 2048)._repr_png_())) as shown:
        assert shown.size == (1024, 256)


def test_a_mask_is_saved_and_saved_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "new" / "mask.png"
    for given in (path, str(path), "~/new/mask.png"):
        predict().save(given)
    with Image.open(path) as mask:
        assert mask.mode == "L" and set(np.unique(mask)) == {0, 255}
        np.testing.assert_array_equal(np.asarray(mask) > 0, predict().mask)
    assert outputs.is_output(path)
    with pytest.raises(ValueError, match=r"has to be a file whose name ends in \.png"):
        predict().save(tmp_path / "mask.jpg")


def test_a_file_of_the_user_is_not_written_over(tmp_path):
    path = tmp_path / "mine.png"
    Image.new("L", (8, 4)).save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="would write over .*mine.png. No earlier"):
        predict().save(path)
    assert path.read_bytes() == before
