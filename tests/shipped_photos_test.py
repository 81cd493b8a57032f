"""Tests the shipped photograph model on its own examples."""

import json

import numpy as np
import pytest

import restr_jax
from restr_jax import shipped

EXAMPLES = shipped.folder("photos") / "examples"


@pytest.fixture(scope="module")
def model():
    return restr_jax.load()


def test_the_model_of_photographs_is_the_default(model):
    assert model.trained.origin == shipped.DEFAULT == "photos"
    assert len(model.trained.vocabulary) > 15_000


def test_it_fits_into_the_package():
    files = [f for f in shipped.folder("photos").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 25_000_000


def test_the_expression_selects_the_object(model):
    cat = model.encode(EXAMPLES / "chelsea.jpg")
    found = cat.segment("the cat")
    assert 0.3 < found.mask.mean() < 0.95 and found.found
    assert not model.encode(EXAMPLES / "two_women.jpg").segment("zebra").found
    astronaut = model.encode(EXAMPLES / "astronaut.jpg")
    woman = astronaut.segment("the woman")
    # Her face and suit are marked, the shuttle beside her is not.
    assert woman.mask[100:200, 190:250].mean() > 0.9
    assert woman.mask[:150, 380:].mean() < 0.2


def test_a_word_absent_from_training_acts_like_its_neighbour(model):
    cat = model.encode(EXAMPLES / "chelsea.jpg")
    one = cat.segment("cat").mask
    assert "cats" in model.trained.vocabulary.ids
    other = cat.segment("cats").mask
    assert (one & other).sum() > 0.7 * (one | other).sum()


def test_each_example_has_expressions_of_known_words(model):
    rows = (EXAMPLES / "examples.jsonl").read_text("utf-8").splitlines()
    for row in map(json.loads, rows):
        image = model.encode(EXAMPLES / row["image"])
        for found in image.segment(row["expressions"]):
            assert not found.unknown and found.mask.dtype == np.bool_
