import numpy as np
from streams import take

from restr_jax.data import jitter, splits
from restr_jax.data.loader import Loader
from restr_jax.data.text import Vocabulary


def vary(pixels, *factors):
    return jitter.vary(np.array([pixels], np.uint8), np.array(factors))[0].tolist()


def test_factors_match_a_computation_by_hand():
    assert vary([[100, 50, 20]], 1.0, 1.0, 1.0) == [[100, 50, 20]]
    assert vary([[100, 50, 20]], 1.5, 1.0, 1.0) == [[150, 75, 30]]
    assert vary([[200, 50, 20]], 1.5, 1.0, 1.0) == [[255, 75, 30]]
    # The mean grey of 20 and 60 is 40; distances from it are halved.
    assert vary([[20] * 3, [60] * 3], 1.0, 0.5, 1.0) == [[30] * 3, [50] * 3]
    # Without colour, a pixel equals its grey value, 0.299 r + 0.587 g + 0.114 b.
    assert vary([[100, 0, 0]], 1.0, 1.0, 0.0) == [[30, 30, 30]]


def test_only_colours_vary_and_depend_only_on_the_position(shapes_dir):
    split = splits.open_split(shapes_dir, "shapes", "train")
    words = Vocabulary.from_sentences(s for some in split.sentences for s in some)
    loader = Loader(split, words, (16, 16), "stretch", 10, 3)
    options = {"mirror": True, "word_dropout": 0.2}
    plain = take(loader, 40, **options)
    varied = take(loader, 40, color_jitter=0.4, **options)
    for one, other in zip(plain, varied, strict=True):
        for name in one.keys() - {"image"}:
            np.testing.assert_array_equal(one[name], other[name])
        assert (one["image"] != other["image"]).any((1, 2, 3)).all()
    later = take(loader, 1, start_step=39, color_jitter=0.4, **options)
    np.testing.assert_array_equal(later[0]["image"], varied[39]["image"])


def test_factors_are_centred_on_one():
    rng = np.random.default_rng(0)
    drawn = np.array([jitter.draw_factors(rng, 0.3) for _ in range(500)])
    assert drawn.shape == (500, 3)
    assert 0.7 <= drawn.min() < 0.71 and 1.29 < drawn.max() <= 1.3
