"""Batches of a training stream, for tests."""

import contextlib
import itertools

import numpy as np

from restr_jax.data import pipeline, splits
from restr_jax.data.loader import Loader
from restr_jax.data.text import Vocabulary


def make_loader(data_dir, expressions, dataset="shapes", split="train"):
    """Returns a loader of 32 x 32 pixels, with K expressions per image."""
    opened = splits.open_split(data_dir, dataset, split)
    sentences = (s for of_record in opened.sentences for s in of_record)
    vocabulary = Vocabulary.from_sentences(sentences)
    return Loader(opened, vocabulary, (32, 32), "stretch", 10, expressions)


def take(loader, number, *, start_step=0, seed=3, num_workers=0, **options):
    """Returns the first batches of four examples, and closes the stream."""
    stream = pipeline.train_batches(
        loader, 4, seed=seed, start_step=start_step, num_workers=num_workers, **options
    )
    with contextlib.closing(stream):
        return list(itertools.islice(stream, number))


def assert_equal_batches(some, others):
    """Asserts that two lists of batches are equal, and not empty."""
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
