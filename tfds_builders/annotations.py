"""What a reader of annotations hands to a builder, and how it says what is wrong.

A reader opens annotation files only. It names images without opening them, and leaves
out, as a problem, whatever cannot be used.
"""

import dataclasses
import pathlib
import reprlib


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """One expression.

    Attributes:
        sent_id: the source's name of it.
        sent: the cleaned sentence, which models are trained on.
        raw: the sentence as it was typed.
    """

    sent_id: str
    sent: str
    raw: str


@dataclasses.dataclass(frozen=True, slots=True)
class ReferredObject:
    """One object and all that is said of it.

    Attributes:
        object_id: the source's name of the object (its annotation).
        ref_id: the source's name of the referring task.
        category: what the source says it is, or "".
        mask: COCO's compressed RLE, or the file that holds the mask.
        sentences: at least one.
    """

    object_id: str
    ref_id: str
    category: str
    mask: str | pathlib.Path
    sentences: tuple[Sentence, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image of a split.

    Attributes:
        image_id: the source's name of it.
        path: its file.
        size: (height, width) that the annotations are for, pixels.
        objects: at least one.
    """

    image_id: str
    path: pathlib.Path
    size: tuple[int, int]
    objects: tuple[ReferredObject, ...]


# The images of each split, in the order of the records.
Annotations = dict[str, list[AnnotatedImage]]


class Problems:
    """Collects what is wrong with a data set, so that all of it is said at once.

    Attributes:
        lines: one per problem, "FILE, RECORD: what is wrong".
    """

    _MOST_SHOWN = 20

    def __init__(self):
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Notes a problem; the file and the record first, then what is wrong."""
        self.lines.append(f"{where}: {what}")

    def text(self) -> str:
        """Returns the first problems, and how many more there are."""
        shown = "\n  ".join(self.lines[: self._MOST_SHOWN])
        more = len(self.lines) - self._MOST_SHOWN
        return (
            f"{len(self.lines)} problems:\n  {shown}"
            f"{f'{chr(10)}  and {more} more' if more > 0 else ''}"
        )


def expression_fault(expression) -> str:
    """Says what is wrong with an expression, or "".

    Tokenisers drop blanks and a final full stop, so a lone one is empty; "..." is not,
    and ReferIt has it.
    """
    if not isinstance(expression, str):
        return f"the expression is {reprlib.repr(expression)}, not text"
    if expression.strip() in ("", "."):
        return "the expression is empty"
    try:
        expression.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a character.
        return f"the expression cannot be stored ({error})"
    return ""


def missing_files(paths: list[str]) -> str:
    """Returns the text of an error about files that are not there."""
    return (
        f"{len(paths)} files are missing:\n  "
        + "\n  ".join(paths)
        + "\nREADME.md beside the builder says where to get them and how to lay them "
        "out under --manual_dir."
    )
