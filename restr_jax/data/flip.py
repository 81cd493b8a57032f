"""Swaps left and right in the expressions of mirrored images."""

import re

# Pairs of whole words to swap. All other words stay unchanged, so "copyright", "bright"
# and "upright" keep their meaning. A pair is listed if it occurs in at least five of
# the 125,081 inspected expressions of ReferIt and Gref (44,937 have "left" or "right").
# Excluded are "l" and "r", which may be letters on a sign (25), and misspellings such
# as "rigth" (some 230).
#
# Known limits: "right" is always read as the direction, so "right above the door"
# becomes "left above the door". This affects 2.5 % of ReferIt's expressions with
# "right" and 1.2 % of Gref's. Clock hours and writing in the image stay unchanged.
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
    """Returns the expression that describes the mirrored image.

    Args:
        sentence: the referring expression, in any case.

    Returns:
        The expression with the words for left and right swapped, these in lower case.
    """
    return _WORD.sub(lambda m: _MIRRORED.get(m[0].lower(), m[0]), sentence)
