"""Words for the classes of COCO, and the classes that a word could also mean.

A word fits an object for certain if the word is a name of its class. It picks out the
object only if no other object of the image *could* be meant by it, which is the wider
relation: "bear" is certain for a bear, and a teddy bear could be meant by it.
"""

import functools
import re

from tfds_builders.instances import name_tables

# Names of other data sets for classes of COCO.
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
    """Returns {what stands before the colon: the rest}; such lines begin unindented."""
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
# Hypernyms of which the 80 classes hold nearly all that photographs show.
BROAD = frozenset({"animal", "pet", "farm animal", "vehicle"})
ANIMALS = frozenset(_WIDE["animal"])


def canonical(name: str) -> str:
    """Returns a category's name as this module spells it: lower case, plain blanks."""
    plain = " ".join(re.split(r"[\s_]+", name.strip().lower()))
    return ALIASES.get(plain, plain)


def wider(category: str) -> tuple[str, ...]:
    """Returns the hypernyms of a class."""
    return tuple(word for word, classes in _WIDE.items() if category in classes)


@functools.cache
def could_mean(word: str) -> frozenset[str]:
    """Returns all classes of COCO that somebody could mean by a word."""
    named = {c for c in CLASSES if word in STRICT[c] or word in LOOSE[c]}
    # A loose compound ("coffee cup") could mean whatever its last word could.
    head = word.split()[-1]
    strict = any(word in STRICT[c] for c in CLASSES)
    further = frozenset() if strict or head == word else could_mean(head)
    return frozenset(named | {*_WIDE.get(word, ()), *_MEANT.get(word, ())}) | further


def fits(word: str, category: str) -> bool:
    """Returns whether somebody could mean an object of a class by a word.

    A class that is not COCO's has its own name alone. "bike" could then mean a
    "mountain bike", and the reverse.
    """
    if category in CLASSES:
        return category in could_mean(word)
    said, named = set(word.split()), set(category.split())
    return said <= named or named <= said


def alike(category: str) -> frozenset[str]:
    """Returns the classes that a class is easily taken for, and the class."""
    return frozenset({category}).union(*(g for g in _GROUPS if category in g))


@functools.cache
def article(word: str) -> str:
    """Returns "a ", "an " or, before plurals and masses, ""."""
    if word in _BARE or word.split()[-1] in PLURAL:
        return ""
    return "an " if word[0] in "aeio" or word.startswith("umbrella") else "a "
