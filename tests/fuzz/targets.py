"""Every parser of bytes or text from outside, as a function of bytes.

A target feeds bytes to a parser, permits the errors that the parser's docstring
documents (contract.py), and checks the result. Any other error, and any slow input, is
a bug of the parser. `benchmarks/fuzz.py` feeds millions of inputs; corpus_test.py feeds
the seeds and the inputs that once found a bug.
"""

from fuzz import (
    annotation_targets,
    image_targets,
    mask_targets,
    text_targets,
    weight_targets,
)
from fuzz.contract import TARGETS

__all__ = [
    "TARGETS",
    "annotation_targets",
    "image_targets",
    "mask_targets",
    "text_targets",
    "weight_targets",
]
