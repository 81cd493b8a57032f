"""Groups of objects that the same words could refer to."""

import dataclasses

from tfds_builders.instances import names
from tfds_builders.instances.things import Scene

STRICT, WIDER, LOOSE = "strict", "wider", "loose"


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """The objects that some words could refer to.

    Attributes:
        members: indices of the objects in `Scene.things`.
        words: (word, level) by class; each word is true of its class.
    """

    members: tuple[int, ...]
    words: dict[str, tuple[tuple[str, str], ...]]


def find(scene: Scene, loose: bool) -> list[Group]:
    """Returns the groups of an image, without words that fit a blocked class."""
    classes = sorted({thing.category for thing in scene.things})
    found: dict[tuple[int, ...], dict[str, list]] = {}
    for category in classes:
        for word, level in vocabulary(category, loose):
            if any(names.fits(word, blocked) for blocked in scene.blocked):
                continue
            fitting = {c for c in classes if names.fits(word, c)}
            members = tuple(
                i for i, t in enumerate(scene.things) if t.category in fitting
            )
            words = found.setdefault(members, {})
            words.setdefault(category, []).append((word, level))
    return [
        Group(members, {c: tuple(words) for c, words in by_class.items()})
        for members, by_class in found.items()
    ]


def vocabulary(category: str, loose: bool) -> list[tuple[str, str]]:
    """Returns the (word, level) of a class; classes outside COCO have their name."""
    if category not in names.CLASSES:
        return [(category, STRICT)]
    words = [(word, STRICT) for word in names.STRICT[category]]
    words += [(word, WIDER) for word in names.wider(category)]
    if loose:
        words += [(word, LOOSE) for word in names.LOOSE[category]]
    return words


def pronoun(scene: Scene) -> Group | None:
    """Returns the group of "one", if all annotated objects are of one class."""
    classes = {thing.category for thing in scene.things}
    if scene.blocked or len(classes) != 1 or len(scene.things) < 2:
        return None
    return Group(
        tuple(range(len(scene.things))), {c: (("one", STRICT),) for c in classes}
    )
