"""Expressions that fit no object of an image."""

from collections.abc import Iterator

from tfds_builders.instances import colours, forms, names
from tfds_builders.instances.claims import Claim, countable
from tfds_builders.instances.groups import STRICT, Group, vocabulary
from tfds_builders.instances.things import Scene

_MOST_CLASSES = 12


def of_scene(scene: Scene, groups: list[Group], rng, loose: bool) -> Iterator[Claim]:
    """Yields claims that no object satisfies, of several sorts.

    Args:
        scene: the image.
        groups: its groups.
        rng: source of all choices.
        loose: also use loose names of absent classes.
    """
    yield from _absent_classes(scene, rng, loose)
    for group in groups:
        things = [scene.things[i] for i in group.members]
        classes = {thing.category for thing in things}
        if not classes <= scene.complete:
            continue
        nouns = tuple(
            word
            for word in group.words.get(things[0].category, ())
            if word[1] == STRICT
        )
        # Only groups of one class with few objects, none of them easily overlooked.
        if not nouns or len(classes) != 1 or len(things) > 4 or not countable(things):
            continue
        for place in (len(things), len(things) + 1):
            said = forms.ordinal(place, "left") + forms.ordinal(place, "right")
            yield Claim(forms.NOTHING, -1, nouns, said)
        for colour in sorted(_lacked(things)):
            said = tuple(
                form.replace("{c}", word)
                for form in forms.COLOUR
                for word in colours.WORDS.get(colour, (colour,))
            )
            yield Claim(forms.NOTHING, -1, nouns, said)


def _lacked(things) -> set[str]:
    """Returns the colours that contrast with the clear colours of all things."""
    if not all(thing.colours.has for thing in things):
        return set()
    lacked = set.intersection(*(set(thing.colours.lacks) for thing in things))
    return {
        c
        for c in lacked
        if not any(colours.near(c, thing.colours.has) for thing in things)
    }


def _absent_classes(scene: Scene, rng, loose: bool) -> Iterator[Claim]:
    """Yields claims about absent classes.

    In half of the images, classes that share a hypernym with a present class come
    first. Classes easily confused with a present or blocked class are excluded.
    """
    present = {thing.category for thing in scene.things} | scene.blocked
    taken = frozenset().union(*(names.alike(c) for c in present))
    absent = sorted((scene.complete & names.CLASSES) - taken)
    kin = {
        c
        for c in absent
        if any(
            set(names.wider(c)) & set(names.wider(p)) for p in present & names.CLASSES
        )
    }
    order = [absent[i] for i in rng.permutation(len(absent))]
    if rng.random() < 0.5:
        order.sort(key=lambda c: c not in kin)
    plain = (*forms.NAME * 14, *forms.ONLY[:1], *forms.SIDE["left"][:6])
    plain += (*forms.SIDE["right"][:6], *forms.BIG, *forms.SMALL[:2], *forms.FRONT[:3])
    plain += (*forms.MIDDLE[:2], *forms.BACK[:3])
    for category in order[:_MOST_CLASSES]:
        words = tuple(
            (word, level)
            for word, level in vocabulary(category, loose)
            if _is_known_absent(word, scene, present)
        )
        if words:
            yield Claim(forms.NOTHING, -1, words, plain)


def _is_known_absent(word: str, scene: Scene, present: frozenset[str]) -> bool:
    """Returns whether a word certainly refers to no object of the image.

    A hypernym needs annotations of all its classes. "animal" is not known to be absent
    if only dogs are annotated.
    """
    if word in names.OPEN and not (
        word in names.BROAD and names.could_mean(word) <= scene.complete
    ):
        return False
    return not any(names.fits(word, other) for other in present)
