"""Left and right exchanged in a sentence, for images that are mirrored."""

import re

# Whole words and what they become, both ways; anything else is left alone, so that
# "copyright", "bright" and "upright" keep their meaning. A pair is here if five of the
# 125,081 expressions of ReferIt and Gref that were looked through have it (44,937 have
# "left" or "right"). Left alone are "l" and "r", which may be letters on a sign (25),
# and misspellings such as "rigth" (some 230).
#
# Known limits: "right" is always taken for the direction, so "right above the door"
# becomes "left above the door" (of ReferIt's expressions with "right" 2.5 % are like
# this, of Gref's 1.2 %). Hours of a clock and writing in the image stay as they are.
_PAIRS = (
    ("left", "right"),
    ("leftmost", "rightmost"),
    ("leftest", "rightest"),
    ("leftish", "rightish"),
    ("leftside", "rightside"),
    ("lefthand", "righthand"),
    ("lefts", "rights"),
    ("lefty", "righty"),
    ("lft", "rt"),
    ("topleft", "topright"),
    ("bottomleft", "bottomright"),
)
_MIRRORED = dict(_PAIRS) | {right: left for left, right in _PAIRS}
_WORD = re.compile(r"\w+")


def mirror_sentence(sentence: str) -> str:
    """Says of the mirrored image what a sentence says of the image.

    Args:
        sentence: what a person says of the object, in any case.

    Returns:
        The sentence with the words for left and right exchanged, these in lower case.
    """
    return _WORD.sub(lambda m: _MIRRORED.get(m[0].lower(), m[0]), sentence)
