"""Claims relative to a second object: "dog on the couch", "cup left of the laptop"."""

import functools
from collections.abc import Iterator

import numpy as np

from tfds_builders.instances import forms
from tfds_builders.instances.claims import Claim, colour_words
from tfds_builders.instances.groups import STRICT, Group
from tfds_builders.instances.things import Scene, Thing

# Margins as shares of the image's sides: between centres; between boxes of near things;
# to the next candidate, which is not near.
APART, NEAR, NOT_NEAR = 0.06, 0.04, 0.15
# Minimum share of an object's lower rim that has the carrier just below it.
CARRIED = 0.5
# Maximum number of objects and of anchors that are tried in an image.
_MOST = 14
_SEATS = frozenset({"couch", "bed", "chair", "bench"})
_RIDDEN = frozenset({"horse", "motorcycle", "bicycle", "elephant"})
_LIES_ON_SEATS = frozenset(
    "cat|dog|teddy bear|book|remote|laptop|handbag|backpack|cell phone".split("|")
)
_LIES_ON_TABLES = frozenset(
    "bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|"
    "carrot|hot dog|pizza|donut|cake|laptop|mouse|keyboard|cell phone|book|vase|"
    "scissors|remote".split("|")
)
_STANDS = frozenset(
    "person|cat|dog|horse|sheep|cow|elephant|zebra|giraffe|bicycle|motorcycle|car|bus|"
    "truck|chair|couch|bench|dining table|potted plant|suitcase".split("|")
)


def of_scene(scene: Scene, groups: list[Group]) -> Iterator[Claim]:
    """Yields relations that hold for one member of a group and clearly fail for others.

    Anchors are objects whose names could refer to no other object of the image.
    """
    anchors = {}
    for group in groups:
        if len(group.members) == 1:
            (i,) = group.members
            words = group.words.get(scene.things[i].category, ())
            said = tuple(w for w in words if w[1] == STRICT)
            if said and scene.things[i].area >= 0.01:
                anchors[i] = anchors.get(i, ()) + said
    mask = functools.cache(scene.mask)
    for group in groups:
        if len(group.members) > _MOST:
            continue
        for anchor, said in list(anchors.items())[:_MOST]:
            if anchor not in group.members:
                yield from _of_pair(scene, group, anchor, said, mask)


def _of_pair(scene, group: Group, anchor: int, said, mask) -> Iterator[Claim]:
    members, there = group.members, scene.things[anchor]
    things = [scene.things[i] for i in members]
    for word, (holds, fails) in _TESTS.items():
        if scene.pasted and word in _STANDING:
            continue
        inside = [i for i, t in enumerate(things) if holds(t, there)]
        if len(inside) != 1:
            continue
        place = inside[0]
        if not all(fails(t, there) for i, t in enumerate(things) if i != place):
            continue
        target = members[place]
        thing = scene.things[target]
        nouns = group.words.get(thing.category, ())
        if word in _STANDING and not _STANDING[word](mask(target), mask(anchor)):
            continue
        if not nouns or not thing.target:
            continue
        said_of = forms.RELATIONS[word]
        yield Claim("relation", target, nouns, said_of, anchors=said)
        # If the name could refer to several objects, add a second property.
        for colour in colour_words(thing) if len(members) > 1 else ():
            yield Claim("pair", target, nouns, said_of, colour, said)


def _span(one: Thing, other: Thing, axis: int) -> float:
    """Returns the overlap of two boxes along an axis; negative values are a gap."""
    return min(one.box[axis + 2], other.box[axis + 2]) - max(
        one.box[axis], other.box[axis]
    )


def _beside(axis: int, sign: int):
    """Returns the tests that a thing lies wholly on one side, level with the other."""

    def holds(one: Thing, other: Thing) -> bool:
        apart = sign * (other.center[axis] - one.center[axis])
        level = _span(one, other, 1 - axis)
        size = min(t.box[3 - axis] - t.box[1 - axis] for t in (one, other))
        overlap = _span(one, other, axis)
        length = min(t.box[axis + 2] - t.box[axis] for t in (one, other))
        return apart >= APART and level >= 0.3 * size and overlap <= 0.2 * length

    def fails(one: Thing, other: Thing) -> bool:
        return sign * (one.center[axis] - other.center[axis]) >= APART

    return holds, fails


def _gap(one: Thing, other: Thing) -> float:
    return float(np.hypot(*(max(0.0, -_span(one, other, k)) for k in (0, 1))))


def _is_near(one: Thing, other: Thing) -> bool:
    """Returns whether things are side by side, close and of comparable size."""
    level = _span(one, other, 1)
    least = min(t.box[3] - t.box[1] for t in (one, other))
    alike = max(one.area, other.area) <= 12 * min(one.area, other.area)
    aside = _span(one, other, 0) <= 0.25 * min(
        t.box[2] - t.box[0] for t in (one, other)
    )
    return alike and aside and level >= 0.5 * least and _gap(one, other) <= NEAR


def _inside(one: Thing, other: Thing) -> float:
    """Returns the share of the first box that lies in the second."""
    width, height = (max(0.0, _span(one, other, k)) for k in (0, 1))
    return width * height / ((one.box[2] - one.box[0]) * (one.box[3] - one.box[1]))


def _lies_on(one: Thing, other: Thing) -> bool:
    classes = (
        _LIES_ON_SEATS
        if other.category in _SEATS
        else _LIES_ON_TABLES
        if other.category == "dining table"
        else frozenset()
    )
    height = other.box[3] - other.box[1]
    return (
        one.category in classes
        and one.area < 0.8 * other.area
        and _inside(one, other) >= 0.6
        and other.box[1] + 0.2 * height <= one.box[3] <= other.box[3] + 0.01
    )


def _rides(one: Thing, other: Thing) -> bool:
    height, width = other.box[3] - other.box[1], other.box[2] - other.box[0]
    middle = (other.box[0] + other.box[2]) / 2
    return (
        one.category == "person"
        and other.category in _RIDDEN
        and abs(one.center[0] - middle) <= 0.3 * width
        and one.box[1] <= other.box[1] + 0.1 * height
        and 0.35 * height <= one.box[3] - other.box[1] <= 0.9 * height
        and _inside(one, other) >= 0.3
    )


def _in_front(one: Thing, other: Thing) -> bool:
    return (
        {one.category, other.category} <= _STANDS
        and one.box[3] - other.box[3] >= 0.06
        and _span(one, other, 0) >= 0.5 * (one.box[2] - one.box[0])
        and one.center[1] > other.center[1]
    )


def _not_touching(one: Thing, other: Thing) -> bool:
    return _gap(one, other) > 0 or _inside(one, other) < 0.05


def _not_in_line(one: Thing, other: Thing) -> bool:
    return _span(one, other, 0) < 0


def _is_behind(one: Thing, other: Thing) -> bool:
    return (
        (
            _in_front(other, one)
            or (
                {one.category, other.category} <= _STANDS
                and other.box[3] - one.box[3] >= 0.06
                and _span(one, other, 0) >= 0.5 * (one.box[2] - one.box[0])
                and one.center[1] < other.center[1]
            )
        )
        and _inside(one, other) < 0.6
        and not _rides(one, other)
    )


# {relation: (test that it holds, test that it clearly fails)}.
_TESTS = {
    "left": _beside(0, 1),
    "right": _beside(0, -1),
    "above": _beside(1, 1),
    "below": _beside(1, -1),
    "near": (_is_near, lambda one, other: _gap(one, other) >= NOT_NEAR),
    "on": (_lies_on, _not_touching),
    "riding": (_rides, _not_touching),
    "front": (_in_front, _not_in_line),
    "behind": (_is_behind, _not_in_line),
}


def _rim_shares(mask: np.ndarray, other: np.ndarray) -> float:
    """Returns the share of a mask's lower rim with another mask just below it.

    Args:
        mask: bool [H, W].
        other: bool [H, W].
    """
    height = mask.shape[0]
    columns = np.flatnonzero(mask.any(0))
    lowest = height - 1 - mask[::-1, columns].argmax(0)
    reach = max(2, round(0.015 * height))
    below = np.zeros(columns.size, bool)
    for step in range(1, reach + 1):
        below |= other[np.minimum(lowest + step, height - 1), columns]
    return float(below.mean())


def _on(mask: np.ndarray, other: np.ndarray) -> bool:
    return _rim_shares(mask, other) >= CARRIED


def _before(mask: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether a mask touches another and does not end at its upper rim."""
    return _rim_shares(mask, other) <= 0.1 and _rim_shares(other, mask) >= 0.25


# Additional tests on masks. These relations are not used in pasted scenes.
_STANDING = {
    "on": _on,
    "riding": lambda mask, other: _rim_shares(mask, other) >= 0.25,
    "front": _before,
    "behind": lambda mask, other: _before(other, mask),
}
