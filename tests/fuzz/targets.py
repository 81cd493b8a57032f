"""Every parser of bytes or text from outside, as a function of bytes.

A target feeds what it is given to a parser, lets the errors pass that the parser's
docstring promises (contract.py), and checks what comes back. Whatever else is raised,
or takes long, is a fault of the parser. `benchmarks/fuzz.py` feeds millions of inputs;
corpus_test.py the seeds, and those inputs that once found something.
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
