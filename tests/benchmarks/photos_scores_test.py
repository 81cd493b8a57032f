"""Checks the scores of benchmarks.photos on masks of four pixels, counted by hand."""

import io
import json
import types

import numpy as np
import pytest
from PIL import Image

from benchmarks import photos
from tfds_builders import masks


def mask(*pixels):
    full = np.zeros((2, 2), bool)
    full.ravel()[list(pixels)] = True
    return full


@pytest.fixture
def record():
    """Returns a record of two one-pixel dogs and a cat of two pixels."""
    content = io.BytesIO()
    Image.new("RGB", (2, 2)).save(content, "png")
    objects = mask(0), mask(1), mask(2, 3)
    return {
        "image": content.getvalue(),
        "image_id": b"a.png",
        "objects": {
            "mask": [masks.encode_mask(m).encode() for m in objects],
            "category": [b"dog", b"dog", b"cat"],
            "object_id": [b"1", b"2", b"3"],
        },
        "expressions": {
            "kind": [b"position", b"position", b"name", b"nothing", b"nothing"],
            "object": np.array([0, 1, 2, -1, -1]),
        },
    }


class Model:
    """Returns given masks for known expressions and rejects others."""

    def __init__(self, answers):
        self.answers = answers

    def encode(self, pixels):
        self.pixels = pixels
        return self

    def segment(self, expression):
        if expression not in self.answers:
            raise ValueError("no word is known")
        return types.SimpleNamespace(mask=self.answers[expression])


def test_scores_match_those_counted_by_hand(record):
    said = ["left dog", "right dog", "cat", "zebra", "third dog"]
    # Half on the other dog; only the other dog; all; nothing; something.
    answers = mask(0, 1), mask(0), mask(2, 3), mask(), mask(3)
    model = Model(dict(zip(said, answers, strict=True)))
    asked = photos.templates(record, said)
    scores = photos.summarize(photos.answer(model, record, asked))
    # Intersections 1, 0, 2 over unions 2, 2, 2.
    assert (scores["expressions"], scores["oiou"]) == (3, 0.5)
    assert scores["miou"] == pytest.approx(0.5)
    # If two objects overlap equally well, neither counts as right.
    assert scores["right"] == pytest.approx(1 / 3)
    assert (scores["rivalled"], scores["right_rivalled"]) == (2, 0.0)
    assert (scores["empty"], scores["fit_nothing"]) == (0.0, 2)
    assert scores["empty_of_nothing"] == 0.5
    kinds = scores["by_kind"]
    assert kinds["position"] == {"expressions": 2, "oiou": 0.25, "right": 0.0}
    assert kinds["name"] == {"expressions": 1, "oiou": 1.0, "right": 1.0}
    row = photos.to_markdown({"animals": scores}).splitlines()[2]
    cells = "3 | 0.500 | 0.500 | 0.333 | 2 | 0.000 | 0.000 | 2 | 0.500"
    assert row == f"| animals | {cells} |"


def test_an_expression_without_a_known_word_counts_as_an_empty_mask(record):
    rows = photos.answer(Model({}), record, [("xyzzy", "name", 2), ("plugh", "", -1)])
    scores = photos.summarize(rows)
    assert (scores["oiou"], scores["right"], scores["empty"]) == (0.0, 0.0, 1.0)
    assert scores["empty_of_nothing"] == 1.0


def test_there_are_enough_free_expressions_from_both_sets():
    rows = [json.loads(line) for line in photos.SENTENCES.read_text().splitlines()]
    assert {row["set"] for row in rows} == set(photos.SETS)
    assert sum(row["object"] is not None for row in rows) >= 80
    assert len({row["image"] for row in rows}) >= 30
    assert len({(row["image"], row["expression"]) for row in rows}) == len(rows)
    assert sum(map(len, photos.free_sentences("animals").values())) == sum(
        row["set"] == "animals" for row in rows
    )
