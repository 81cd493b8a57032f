"""Claims about an object whose name alone selects it.

The name suffices. Added words are true, or do not affect the selection. Training thus
sees the words of people who describe more than necessary.
"""

from collections.abc import Iterator

from tfds_builders.instances import forms, names
from tfds_builders.instances.claims import NOT_GROUNDED, Claim, colour_words
from tfds_builders.instances.groups import Group
from tfds_builders.instances.things import Scene, Thing


def of_group(scene: Scene, group: Group, loose: bool) -> Iterator[Claim]:
    """Yields the name alone, and the name with true properties of the object.

    Args:
        scene: the image.
        group: a group of one member.
        loose: also yield adjectives and verbs whose truth is unknown.
    """
    (i,) = group.members
    thing = scene.things[i]
    nouns = group.words.get(thing.category, ())
    if not thing.target or not nouns:
        return

    def claim(said: tuple[str, ...], adjective: str = "") -> Claim:
        return Claim("name", i, nouns, said, adjective)

    yield claim(forms.NAME)
    yield claim(forms.NAME)  # Twice as often as each addition.
    for said in _places(thing, scene.pasted):
        yield claim(said)
        for word in colour_words(thing):
            yield claim(said, word)
    for word in colour_words(thing):
        yield claim(tuple(form.replace("{c}", word) for form in forms.COLOUR))
    if thing.colours.clothes:
        worn = thing.colours.clothes
        yield claim(tuple(form.replace("{c}", worn) for form in forms.CLOTHES))
    if thing.area > 0.25:
        yield claim(forms.BIG)
    if thing.area < 0.03:
        yield claim(forms.SMALL)
    if thing.category in scene.complete:
        yield claim(forms.ONLY)
    if loose:
        yield claim(idle(thing.category))
        yield claim(idle(thing.category))  # Twice, because there are many of them.


def _places(thing: Thing, pasted: bool) -> Iterator[tuple[str, ...]]:
    """Yields the forms of the clear positions of an object."""
    (left, top, right, bottom), (x, y) = thing.box, thing.center
    sides = [w for w, clear in (("left", x < 0.4), ("right", x > 0.6)) if clear]
    levels = [w for w, clear in (("top", y < 0.4), ("bottom", y > 0.6)) if clear]
    wide, tall = right - left > 0.6, bottom - top > 0.6
    for side in sides if not wide else ():
        yield forms.SIDE[side]
        for level in levels if not tall else ():
            yield forms.corner(level, side)
    for level in levels if not tall else ():
        yield forms.VERTICAL[level]
    if 0.4 < x < 0.6 and 0.3 < y < 0.7:
        yield forms.MIDDLE
    # For things on the ground, low and large is near, and high and small is far.
    if pasted or thing.category in NOT_GROUNDED:
        return
    if bottom > 0.85 and thing.area > 0.2:
        yield forms.FRONT
    if bottom < 0.6 and thing.area < 0.03:
        yield forms.BACK


def idle(category: str) -> tuple[str, ...]:
    """Returns noun forms whose truth is unknown."""
    person = category == "person"
    return forms.idle(person or category in names.ANIMALS, person)
