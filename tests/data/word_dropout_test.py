import numpy as np
import pytest
from streams import take

from restr_jax.data import splits
from restr_jax.data.loader import Loader
from restr_jax.data.text import Vocabulary

UNKNOWN = 1


@pytest.fixture(scope="module")
def make_loader(shapes_dir):
    """Returns a function that makes a loader with K expressions per image."""
    split = splits.open_split(shapes_dir, "shapes", "train")
    sentences = (s for of_record in split.sentences for s in of_record)
    words = Vocabulary.from_sentences(sentences).words

    def make(expressions, padding="right"):
        vocabulary = Vocabulary(words, "paper", padding)
        return Loader(split, vocabulary, (16, 16), "stretch", 10, expressions)

    return make


def tokens(batches):
    return np.concatenate([batch["tokens"] for batch in batches])


def test_only_words_are_dropped_at_about_the_given_rate(make_loader):
    loader = make_loader(3)
    whole, some = take(loader, 30), take(loader, 30, word_dropout=0.2)
    for one, other in zip(whole, some, strict=True):
        for name in one.keys() - {"tokens"}:
            np.testing.assert_array_equal(one[name], other[name])
    before, after = tokens(whole), tokens(some)
    changed = before != after
    assert (after[changed] == UNKNOWN).all() and (before[changed] > UNKNOWN).all()
    assert 0.15 < changed.sum() / (before > 0).sum() < 0.25
    # Every position and each of the K expressions is affected.
    assert changed.any((0, 1))[:5].all() and changed.any((0, 2)).all()


def test_dropped_words_depend_only_on_the_position(make_loader):
    loader, options = make_loader(2), {"word_dropout": 0.3, "mirror": True}
    straight = tokens(take(loader, 60, **options))  # more than an epoch of 50
    later = take(loader, 3, start_step=57, **options)
    np.testing.assert_array_equal(tokens(later), straight[-12:])
    with_workers = take(loader, 2, num_workers=2, **options)
    np.testing.assert_array_equal(tokens(with_workers), straight[:8])
    shares = [
        take(loader, 2, process_index=i, process_count=2, **options) for i in (0, 1)
    ]
    joined = [np.concatenate([a["tokens"], b["tokens"]]) for a, b in zip(*shares)]  # noqa: B905
    np.testing.assert_array_equal(np.concatenate(joined), straight[:8])


def test_dropped_words_are_drawn_again_in_every_epoch(make_loader):
    loader = make_loader(9)
    epochs = []
    for start in (0, 10):
        rows = tokens(take(loader, 10, start_step=start, word_dropout=0.3))
        epochs.append({tuple(row) for row in rows.reshape(-1, 10).tolist()})
    # Without dropout, both epochs have the same 360 expressions.
    assert len(epochs[1] - epochs[0]) > 100


@pytest.mark.parametrize("padding", ["right", "left"])
def test_an_expression_never_loses_all_of_its_words(make_loader, padding):
    after = tokens(take(make_loader(3, padding), 40, word_dropout=0.6))
    expressions = after.reshape(-1, 10)
    expressions = expressions[(expressions > 0).any(-1)]
    assert (expressions > UNKNOWN).any(-1).all()
    assert (expressions == UNKNOWN).any(-1).sum() > 200
