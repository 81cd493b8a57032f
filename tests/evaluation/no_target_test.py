import io
import json

import numpy as np
import pytest
from PIL import Image

from restr_jax.data import preprocess
from restr_jax.data.loader import Example
from restr_jax.data.masks import to_rle
from restr_jax.data.splits import Split
from restr_jax.evaluation import metrics, stored
from restr_jax.evaluation.evaluator import Evaluator


@pytest.fixture
def record():
    """Returns a 4 x 4 image with one object, its upper half, and two expressions."""
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    upper = np.zeros((4, 4), bool)
    upper[:2] = True
    return {
        "image_id": b"7",
        "image": content.getvalue(),
        "objects": {"object_id": [b"3"], "mask": [to_rle(upper)["counts"].encode()]},
        "expressions": {
            "object": np.array([0, -1]),
            "sent_id": [b"a", b"b"],
            "kind": [b"class", b"nothing"],
        },
    }


def score(record, k, filled_rows):
    """Returns the record of a prediction whose first rows are filled."""
    from configs import common

    evaluator = Evaluator.__new__(Evaluator)
    evaluator._config = common.get_config("tiny")
    upper = np.zeros((4, 4), bool)
    upper[:2] = True
    example = Example(
        preprocess.decode_image(record["image"], ""),
        np.zeros((2, 3), np.int32),
        np.ones(2, bool),
        [upper, np.zeros((4, 4), bool)],
        0,
        np.arange(2),
        ["dog", "zebra"],
        record,
    )
    logits = np.full((4, 4), -5.0, np.float32)
    logits[:filled_rows] = 5.0
    overlap = evaluator._overlap_of(example, k, logits, 0.5, None)
    return evaluator._score_one(example, k, logits, (0.5,)).records[0], overlap


@pytest.mark.parametrize(("rows", "iou"), [(0, 1.0), (1, 0.0)])
def test_an_expression_that_fits_nothing_is_right_if_its_mask_is_empty(
    record, rows, iou
):
    found, overlap = score(record, 1, rows)
    assert found["no_target"] and found["pixels"] == 4 * rows and found["iou"] == iou
    assert found["object_id"] == "" and found["kind"] == "nothing"
    assert (found["intersection"], found["union"]) == (0, 4 * rows)
    assert overlap == (0, 0)  # oIoU, which selects the best checkpoint.
    json.dumps(found)


def test_an_expression_with_an_object_is_scored_as_usual(record):
    found, overlap = score(record, 0, 1)
    assert not found["no_target"] and found["pixels"] == 4 and found["iou"] == 0.5
    assert overlap == (4, 8) and found["object_id"] == "3"


@pytest.mark.parametrize("rows", [0, 1])
def test_stored_predictions_give_the_same_scores(record, rows):
    split = Split("a:val", [record], [["dog", "zebra"]], ["a/7"])
    online = [score(record, 0, 1)[0], score(record, 1, rows)[0]]
    expected = metrics.summarize(online, [])
    predictions = [
        {"sent_id": r["sent_id"], "mask": r["mask"], "stretched_mask": r["mask"]}
        for r in online
    ]
    found = stored.score(predictions, split, (4, 4))
    for key in ("oiou", "num_no_target", "n_acc", "t_acc", "giou", "ciou", "stretched"):
        assert found[key] == expected[key]
    # All of these masks are small.
    assert found["under_50"] == {"n_acc": 1.0, "t_acc": 0.0, "giou": 0.5, "ciou": 0.0}
    assert found["n_acc"] == float(rows == 0) and found["t_acc"] == 1.0
    assert found["giou"] == (0.5 + found["n_acc"]) / 2
    assert found["ciou"] == 4 / (8 + 4 * rows)
