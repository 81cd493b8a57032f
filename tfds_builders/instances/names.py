"""Words for the classes of COCO, and further classes that a word could refer to.

A word certainly fits an object if it is a name of the object's class. It selects the
object only if it *could* refer to no other object of the image. The second relation is
wider: "bear" certainly fits a bear, but could also refer to a teddy bear.
"""

import functools
import re

from tfds_builders.instances import name_tables

# Names that other data sets use for classes of COCO.
ALIASES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}

PLURAL = frozenset({"skis", "scissors", "bananas"})
_BARE = frozenset(
    {"someone", "somebody", "luggage", "broccoli", "furniture", "food", "wine"}
)


def _words(line: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in line.split(",") if word.strip())


def _entries(text: str) -> dict[str, str]:
    """Returns {key: rest} of the lines "key: rest"; indented lines continue a line."""
    lines = text.strip().replace("\n ", " ").splitlines()
    return {k.strip(): v.strip() for k, v in (line.split(":") for line in lines)}


STRICT = {c: _words(v.split("|")[0]) for c, v in _entries(name_tables.NAMES).items()}
LOOSE = {
    c: _words((v + "|").split("|")[1]) for c, v in _entries(name_tables.NAMES).items()
}
_WIDE = {word: _words(classes) for word, classes in _entries(name_tables.WIDER).items()}
_MEANT = {word: _words(classes) for word, classes in _entries(name_tables.ALSO).items()}
_GROUPS = [frozenset(_words(line)) for line in name_tables.ALIKE.strip().splitlines()]
CLASSES = frozenset(STRICT)
OPEN = frozenset(_words(name_tables.OPEN.replace("\n", " ")))
# Hypernyms whose visible instances in photographs are nearly all of the 80 classes.
BROAD = frozenset({"animal", "pet", "farm animal", "vehicle"})
ANIMALS = frozenset(_WIDE["animal"])


def canonical(name: str) -> str:
    """Returns a category's name as spelt here: in lower case, with single blanks."""
    plain = " ".join(re.split(r"[\s_]+", name.strip().lower()))
    return ALIASES.get(plain, plain)


def wider(category: str) -> tuple[str, ...]:
    """Returns the hypernyms of a class."""
    return tuple(word for word, classes in _WIDE.items() if category in classes)


@functools.cache
def could_mean(word: str) -> frozenset[str]:
    """Returns all classes of COCO that a word could refer to."""
    named = {c for c in CLASSES if word in STRICT[c] or word in LOOSE[c]}
    # A loose compound ("coffee cup") could refer to all classes of its last word.
    head = word.split()[-1]
    strict = any(word in STRICT[c] for c in CLASSES)
    further = frozenset() if strict or head == word else could_mean(head)
    return frozenset(named | {*_WIDE.get(word, ()), *_MEANT.get(word, ())}) | further


def fits(word: str, category: str) -> bool:
    """Returns whether a word could refer to an object of a class.

    Classes outside COCO have only their own name. "bike" could then refer to a
    "mountain bike", and the reverse.
    """
    if category in CLASSES:
        return category in could_mean(word)
    said, named = set(word.split()), set(category.split())
    return said <= named or named <= said


def alike(category: str) -> frozenset[str]:
    """Returns a class and the classes that are easily confused with it."""
    return frozenset({category}).union(*(g for g in _GROUPS if category in g))


@functools.cache
def article(word: str) -> str:
    """Returns "a ", "an " or, before plural and mass nouns, ""."""
    if word in _BARE or word.split()[-1] in PLURAL:
        return ""
    return "an " if word[0] in "aeio" or word.startswith("umbrella") else "a "
