"""Checks scenes with a reader of expressions that shares no rule with the writer."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from tfds_builders.shapes import scenes

SIDE = 64
# Orders by centre (x to the right, y downwards): the described shape has the smaller of
# two values.
ORDERS = {
    "left": lambda shape: shape.center[0],
    "right": lambda shape: -shape.center[0],
    "above": lambda shape: shape.center[1],
    "below": lambda shape: -shape.center[1],
    "leftmost": lambda shape: shape.center[0],
    "rightmost": lambda shape: -shape.center[0],
    "topmost": lambda shape: shape.center[1],
    "lowest": lambda shape: -shape.center[1],
}


@pytest.fixture(scope="module")
def made():
    rngs = (np.random.default_rng((7, i)) for i in range(200))
    return [scenes.make_scene(rng, SIDE, 9) for rng in rngs]


def named(noun, shapes):
    """Returns the places of the shapes that match words like "large red circle"."""
    assert noun, "a sentence names some thing"
    places = []
    for i, shape in enumerate(shapes):
        said = {shape.size, shape.color, shape.shape, "object"}
        if set(noun) <= said:
            places.append(i)
    return places


def meant(sentence, shapes):
    """Returns every place that an expression may refer to, and its kind."""
    words = sentence.split()
    if words[0] == "the":
        words = words[1:]
    if "the" in words:
        middle = words.index("the")
        (anchor,) = named(words[middle + 1 :], shapes)
        head = words[:middle]
        if head[-1] == "of":
            head.pop()
        order = ORDERS[head.pop()]
        candidates = named(head, shapes)
        assert len(candidates) > 1, f"{sentence!r} would do without its relation"
        assert anchor not in candidates
        leads = {i: order(shapes[anchor]) - order(shapes[i]) for i in candidates}
        assert min(map(abs, leads.values())) > 1, f"{sentence!r} stands on a tie"
        return [i for i, lead in leads.items() if lead > 0], "relation"
    if words[0] in ORDERS:
        order = ORDERS[words[0]]
        candidates = named(words[1:], shapes)
        assert len(candidates) > 1, f"{sentence!r} would do without its superlative"
        first, second = sorted(order(shapes[i]) for i in candidates)[:2]
        assert second - first > 1, f"{sentence!r} stands on a tie"
        return [i for i in candidates if order(shapes[i]) == first], "superlative"
    return named(words, shapes), "attribute"


def test_the_reader_distinguishes_true_from_false_expressions():
    shapes = [
        scenes.Shape("circle", "red", "large", (10.0, 10.0), 5.0),
        scenes.Shape("circle", "blue", "large", (40.0, 12.0), 5.0),
        scenes.Shape("square", "red", "small", (25.0, 50.0), 5.0),
    ]
    assert meant("the blue object", shapes) == ([1], "attribute")
    assert meant("large circle", shapes) == ([0, 1], "attribute")
    assert meant("leftmost circle", shapes) == ([0], "superlative")
    assert meant("the lowest object", shapes) == ([2], "superlative")
    assert meant("circle left of the small square", shapes) == ([0], "relation")
    assert meant("the red object below the blue circle", shapes) == ([2], "relation")
    assert meant("circle above the square", shapes) == ([0, 1], "relation")


def test_every_expression_is_true_of_its_object_only(made):
    read = 0
    for scene in made:
        for expression in scene.expressions:
            answer = meant(expression.words, scene.shapes)
            assert answer == ([expression.target], expression.kind), expression
            read += 1
    assert read > 1000


def test_every_scene_has_equally_many_expressions_of_each_kind(made):
    for scene in made:
        kinds = Counter(e.kind for e in scene.expressions)
        assert kinds == dict.fromkeys(scenes.KINDS, 3)


def test_all_words_of_the_grammar_are_used(made):
    spoken = {w for s in made for e in s.expressions for w in e.words.split()}
    words = {*scenes.SHAPES, *scenes.COLORS, *scenes.SIZES, *scenes.SUPERLATIVES}
    assert words | {"left", "right", "above", "below", "of", "the", "object"} == spoken


def test_no_shape_is_cut_off_or_invisible(made):
    for scene in made:
        for shape in scene.shapes:
            mask = shape.mask(SIDE)
            # Nothing is cut off in the middle of a canvas three times as wide.
            x, y = shape.center
            moved = dataclasses.replace(shape, center=(x + SIDE, y + SIDE))
            assert mask.sum() == moved.mask(3 * SIDE).sum() > 0


def test_shapes_do_not_overlap(made):
    for scene in made:
        covered = sum(shape.mask(SIDE).astype(int) for shape in scene.shapes)
        assert covered.max() == 1


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        # A circle of radius 10 has 100 pi pixels, a square of half-width 9 has 18 x 18,
        # a triangle of height 18 and base 20 has half of 18 x 20.
        ("circle", 314),
        ("square", 324),
        ("triangle", 180),
    ],
)
def test_areas_follow_from_the_radius(shape, pixels):
    drawn = scenes.Shape(shape, "red", "large", (32.0, 32.0), 10.0).mask(SIDE)
    assert drawn.sum() == pytest.approx(pixels, rel=0.05)
    rows, columns = np.nonzero(drawn)
    # ... and every shape is upright and centred.
    assert columns.min() + columns.max() == 63
    assert rows.min() <= 32 <= rows.max()
