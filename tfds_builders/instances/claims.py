"""Claims: rules that exactly one object of an image satisfies, with a margin.

A group holds the objects that a word could refer to. A claim selects one of them. The
name suffices in a group of one member. In larger groups, position, order, size,
nearness or colour selects the object. The forms of a claim differ in wording, never in
truth.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

from tfds_builders.instances import colours, forms
from tfds_builders.instances.groups import Group
from tfds_builders.instances.things import Scene, Thing

# Margins as shares of the image's sides: between centres for extremes and for counting;
# between bottoms for nearness.
LEAD, GAP, BOTTOM = 0.08, 0.05, 0.05
# Ratios of areas: for size; for nearness, which bottoms must confirm.
LARGER, NEARER = 1.8, 1.4
# Objects that cover a smaller share of the image may be overlooked in counting.
COUNTED = 0.004
# Their bottoms do not indicate nearness: they fly, hang or are built in.
NOT_GROUNDED = frozenset(
    """airplane|bird|kite|baseball bat|tennis racket|baseball glove|toothbrush|tie|
frisbee|sports ball|clock|tv|traffic light|stop sign|umbrella|sink|microwave|oven|
refrigerator|toaster|hair drier""".replace("\n", "").split("|")
)


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A rule that one object satisfies.

    Attributes:
        kind: one of `forms.KINDS`, or `forms.NOTHING`.
        target: the object's index in `Scene.things`, or -1.
        nouns: (word, level) of the object.
        forms: forms of the expression; any one may be used.
        adjective: word before the noun, or "".
        anchors: (word, level) of the second object of a relation.
        idle: noun forms that do not affect the selection; one may be used.
    """

    kind: str
    target: int
    nouns: tuple[tuple[str, str], ...]
    forms: tuple[str, ...]
    adjective: str = ""
    anchors: tuple[tuple[str, str], ...] = ()
    idle: tuple[str, ...] = ()


def of_group(scene: Scene, group: Group, bare: bool = False) -> Iterator[Claim]:
    """Yields the claims of a group, except those about a second object.

    Args:
        scene: the image.
        group: one of its groups.
        bare: also yield the forms without a noun.
    """
    members = group.members

    def claim(kind: str, target: int, said: tuple[str, ...], **further) -> Claim:
        nouns = group.words.get(scene.things[target].category, ())
        return Claim(kind, target, nouns, said, **further)

    made = _selecting(scene, list(members), claim, bare)
    for one in itertools.chain(made, _coloured(scene, list(members), claim)):
        if one.nouns and scene.things[one.target].target:
            yield one


def _selecting(
    scene: Scene, members: list[int], claim: Callable[..., Claim], bare: bool
) -> Iterator[Claim]:
    """Yields claims that select by position, order, size or nearness."""
    if len(members) < 2:
        return
    things = [scene.things[i] for i in members]
    for kind, place, said, word in itertools.chain(
        positions(things), ordinals(things), sizes(things), nearness(things)
    ):
        yield claim(kind, members[place], said)
        if bare and word in forms.BARE:
            yield claim(kind, members[place], forms.BARE[word])
    yield from _pairs(things, members, claim)


# A claim about one of several things: kind, index, forms, key of `forms.BARE`.
Pick = tuple[str, int, tuple[str, ...], str]


def positions(things: list[Thing]) -> Iterator[Pick]:
    """Yields extremes of position, the middle and the corners."""
    for word, axis, sign in (
        ("left", 0, 1),
        ("right", 0, -1),
        ("top", 1, 1),
        ("bottom", 1, -1),
    ):
        place = _first(things, axis, sign)
        if place is None:
            continue
        utmost = (forms.FURTHEST if axis == 0 else forms.UTMOST)[word]
        plain = (forms.SIDE if axis == 0 else forms.VERTICAL)[word]
        if in_half(things[place], word) and (
            len(things) == 2
            or not any(in_half(t, word) for i, t in enumerate(things) if i != place)
        ):
            yield "position", place, plain + utmost, word
        else:
            yield "position", place, utmost, ""
    yield from _middle(things)
    for vertical, side in itertools.product(("top", "bottom"), ("left", "right")):
        inside = [
            i for i, t in enumerate(things) if _in_corner(t, vertical, side, 0.42)
        ]
        near = [i for i, t in enumerate(things) if _in_corner(t, vertical, side, 0.55)]
        if inside == near and len(near) == 1:
            yield "position", near[0], forms.corner(vertical, side), ""


def _first(things: list[Thing], axis: int, sign: int) -> int | None:
    """Returns the first along an axis, by centre with a margin and by both edges."""
    order = sorted(range(len(things)), key=lambda i: sign * things[i].center[axis])
    first = things[order[0]]
    lead = all(_before(first, things[i], axis, sign, LEAD) for i in order[1:])
    return order[0] if lead else None


def _before(one: Thing, other: Thing, axis: int, sign: int, lead: float) -> bool:
    """Returns whether one comes before the other, by centre and both edges."""
    edges = all(sign * (other.box[k] - one.box[k]) >= 0 for k in (axis, axis + 2))
    return edges and sign * (other.center[axis] - one.center[axis]) >= lead


def in_half(thing: Thing, word: str) -> bool:
    """Returns whether the centre of a thing lies in the half that the word names."""
    x, y = thing.center
    return {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5}[word]


def _in_corner(thing: Thing, vertical: str, side: str, reach: float) -> bool:
    x = thing.center[0] if side == "left" else 1 - thing.center[0]
    y = thing.center[1] if vertical == "top" else 1 - thing.center[1]
    return x < reach and y < reach


def _middle(things: list[Thing]) -> Iterator[Pick]:
    if len(things) != 3:
        return
    order = sorted(range(3), key=lambda i: things[i].center[0])
    if in_order([things[i] for i in order], 0, LEAD) and countable(things):
        yield "position", order[1], forms.MIDDLE + forms.BETWEEN, "middle"


def in_order(things: list[Thing], axis: int, gap: float) -> bool:
    """Returns whether each precedes the next along an axis, with a gap."""
    return all(_before(a, b, axis, 1, gap) for a, b in itertools.pairwise(things))


def countable(things: list[Thing]) -> bool:
    """Returns whether none of the things is easily overlooked."""
    areas = sorted(thing.area for thing in things)
    return areas[0] >= COUNTED and areas[0] * 12 >= areas[len(areas) // 2]


def ordinals(things: list[Thing]) -> Iterator[Pick]:
    """Yields all ordinals of a row or a column, counted from both ends."""
    if not 2 <= len(things) <= forms.MOST_COUNTED or not countable(things):
        return
    for axis, sides in enumerate((("left", "right"), ("top", "bottom"))):
        order = sorted(range(len(things)), key=lambda i: things[i].center[axis])
        if not in_order([things[i] for i in order], axis, GAP):
            continue
        if axis == 1 and _is_row(things):
            continue  # People do not count a row from the top.
        for side, row in zip(sides, (order, order[::-1]), strict=True):
            for place, i in enumerate(row):
                yield "ordinal", i, forms.ordinal(place, side), ""


def _is_row(things: list[Thing]) -> bool:
    spans = [
        max(t.center[k] for t in things) - min(t.center[k] for t in things)
        for k in (0, 1)
    ]
    return spans[0] > 0.5 * spans[1]


def sizes(things: list[Thing]) -> Iterator[Pick]:
    """Yields the largest and the smallest, by mask and by box."""
    two = len(things) == 2
    order = sorted(range(len(things)), key=lambda i: -things[i].area)
    if _larger(things[order[0]], things[order[1]]):
        said = forms.BIGGEST + (forms.BIGGER if two else ())
        yield "size", order[0], said, "big"
    if _larger(things[order[-2]], things[order[-1]]):
        said = forms.SMALLEST + (forms.SMALLER if two else ())
        yield "size", order[-1], said, "small"


def _larger(one: Thing, other: Thing) -> bool:
    a, b = ((t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in (one, other))
    return one.area >= LARGER * other.area and a >= 1.4 * b


def nearness(things: list[Thing]) -> Iterator[Pick]:
    """Yields the closest and the furthest, if bottoms and areas agree."""
    if any(thing.category in NOT_GROUNDED for thing in things):
        return
    two = len(things) == 2
    order = sorted(range(len(things)), key=lambda i: -things[i].box[3])
    first, last = things[order[0]], things[order[-1]]
    if all(_nearer(first, things[i]) for i in order[1:]):
        said = forms.FRONT + forms.CLOSEST + (forms.CLOSER if two else ())
        yield "nearness", order[0], said, "front"
    if all(_nearer(things[i], last) for i in order[:-1]):
        said = forms.BACK + forms.FURTHEST_BACK + (forms.FURTHER if two else ())
        yield "nearness", order[-1], said, "back"


def _nearer(one: Thing, other: Thing) -> bool:
    lower = one.box[3] - other.box[3] >= BOTTOM
    return lower and one.area >= NEARER * other.area


def _pairs(
    things: list[Thing], members: list[int], claim: Callable[..., Claim]
) -> Iterator[Claim]:
    """Yields extremes with another property of the same object before the noun."""
    sized = {place: word for _, place, _, word in sizes(things)}
    extremes = [p for p in positions(things) if p[2] != forms.MIDDLE + forms.BETWEEN]
    for _, place, said, _ in (*extremes, *nearness(things)):
        if place in sized:
            yield claim("pair", members[place], said, adjective=sized[place])
    # An extreme of a group is the extreme of each subgroup that contains it.
    for _, place, said, _ in (*extremes, *sizes(things), *nearness(things)):
        for word in colour_words(things[place]):
            yield claim("pair", members[place], said, adjective=word)


def colour_words(thing: Thing) -> tuple[str, ...]:
    """Returns the words for an object's clear colour."""
    has = thing.colours.has
    return colours.WORDS.get(has, (has,)) if has else ()


def _coloured(
    scene: Scene, members: list[int], claim: Callable[..., Claim]
) -> Iterator[Claim]:
    """Yields claims by colour, and claims that select among things of one colour."""
    if len(members) < 2:
        return
    things = [scene.things[i] for i in members]
    for colour in sorted({t.colours.has for t in things} - {""}):
        inside = [i for i, t in enumerate(things) if t.colours.has == colour]
        outside = [t for t in things if t.colours.has != colour]
        if not outside or any(colour not in t.colours.lacks for t in outside):
            continue
        words = colours.WORDS.get(colour, (colour,))
        if len(inside) == 1:
            said = tuple(f.replace("{c}", w) for f in forms.COLOUR for w in words)
            yield claim("colour", members[inside[0]], said)
            continue
        for pick in (positions, ordinals, sizes, nearness):
            for _, place, said, _ in pick([things[i] for i in inside]):
                for word in words:
                    yield claim("pair", members[inside[place]], said, adjective=word)
    yield from _clothed(things, members, claim)


def _clothed(
    things: list[Thing], members: list[int], claim: Callable[..., Claim]
) -> Iterator[Claim]:
    worn = [t.colours.clothes for t in things]
    if not all(worn):
        return
    for place, colour in enumerate(worn):
        others = worn[:place] + worn[place + 1 :]
        if not any(colours.near(colour, other) for other in others):
            said = tuple(f.replace("{c}", colour) for f in forms.CLOTHES)
            yield claim("colour", members[place], said)
