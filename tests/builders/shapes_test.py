import itertools
from collections import Counter

import numpy as np
import pytest

from restr_jax.data import splits
from tfds_builders.shapes import scenes

SIDE = 64


def random_scenes(number):
    rng = np.random.default_rng(7)
    return [scenes.make_scene(rng, SIDE, 9) for _ in range(number)]


def matching(noun, shapes):
    """Returns the objects that a noun phrase names."""
    words = noun.removeprefix("the ").split()
    return [
        shape
        for shape in shapes
        if all(w in (shape.size, shape.color, shape.shape, "object") for w in words)
    ]


def meant(words, shapes):
    """Returns every object that an expression is true of, from its words alone."""
    words = words.removeprefix("the ")
    for relation, (axis, sign) in {
        " left of ": (0, -1),
        " right of ": (0, 1),
        " above ": (1, -1),
        " below ": (1, 1),
    }.items():
        if relation in words:
            noun, anchor = words.split(relation)
            (origin,) = matching(anchor, shapes)
            return [
                s
                for s in matching(noun, shapes)
                if sign * (s.center[axis] - origin.center[axis]) > 0
            ]
    first, _, rest = words.partition(" ")
    extremes = {"leftmost": (0, min), "rightmost": (0, max)}
    extremes |= {"topmost": (1, min), "lowest": (1, max)}
    if first in extremes:
        axis, choose = extremes[first]
        found = matching(rest, shapes)
        best = choose(s.center[axis] for s in found)
        return [s for s in found if s.center[axis] == best]
    return matching(words, shapes)


def test_every_expression_is_true_of_its_object_only():
    for scene in random_scenes(200):
        for expression in scene.expressions:
            target = scene.shapes[expression.target]
            assert meant(expression.words, scene.shapes) == [target], expression


def test_each_kind_of_expression_matches_its_name():
    for scene in random_scenes(100):
        for expression in scene.expressions:
            words = expression.words.removeprefix("the ").split()
            if expression.kind == "superlative":
                # Without the superlative, several objects match.
                assert len(matching(" ".join(words[1:]), scene.shapes)) > 1
            if expression.kind == "relation":
                cut = min(
                    words.index(w)
                    for w in ("left", "right", "above", "below")
                    if w in words
                )
                assert len(matching(" ".join(words[:cut]), scene.shapes)) > 1


def test_kinds_have_equal_shares():
    kinds = Counter(e.kind for s in random_scenes(100) for e in s.expressions)
    assert kinds == {kind: 300 for kind in scenes.KINDS}


def test_objects_lie_inside_and_apart():
    for scene in random_scenes(50):
        masks = [shape.mask(SIDE) for shape in scene.shapes]
        assert 3 <= len(masks) <= 4
        for one, other in itertools.combinations(masks, 2):
            assert not (one & other).any()
        for mask in masks:
            assert mask.sum() > 20
            border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            assert not border.any()


def test_pixels_show_the_named_color_on_plain_or_noisy_ground():
    noisy = []
    for scene in random_scenes(50):
        ground = np.ones((SIDE, SIDE), bool)
        for shape in scene.shapes:
            mask = shape.mask(SIDE)
            ground &= ~mask
            shown = scene.image[mask].mean(0)
            # Eight is the standard deviation of each channel's tint.
            assert np.abs(shown - scenes.COLORS[shape.color]).max() < 5 * 8
        noisy.append(scene.image[ground].std() > 1)
    assert 10 < sum(noisy) < 40


def test_a_scene_follows_from_its_seed():
    one, same, other = (
        scenes.make_scene(np.random.default_rng(seed), SIDE, 9) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.image, same.image)
    assert one.expressions == same.expressions != other.expressions


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_built_records_match_the_drawn_scenes(shapes_dir, split):
    opened = splits.open_split(shapes_dir, "shapes", split)
    record = opened.source[5]
    stored = [s.decode() for s in record["expressions"]["sent"]]
    assert stored == opened.sentences[5] and len(stored) == 9
    assert record["image_id"].decode() == f"{split}_000005"


def test_splits_share_no_scene(shapes_dir):
    images = [
        {bytes(r["image"]) for r in splits.open_split(shapes_dir, "shapes", s).source}
        for s in ("train", "val", "test")
    ]
    assert [len(i) for i in images] == [40, 8, 8]
    assert len(set.union(*images)) == 56
