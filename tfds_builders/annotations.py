"""Annotations and problems, which readers of annotations pass to builders.

A reader opens annotation files only. It names images without opening them, skips
unusable entries and reports each as a problem.
"""

import dataclasses
import pathlib
import reprlib


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """One expression.

    Attributes:
        sent_id: the source's name of it.
        sent: the cleaned expression, which models are trained on.
        raw: the expression as it was typed.
    """

    sent_id: str
    sent: str
    raw: str


@dataclasses.dataclass(frozen=True, slots=True)
class ReferredObject:
    """One object, several, or none, and the expressions that mean exactly these.

    Attributes:
        object_id: the source's name of the object (its annotation).
        ref_id: the source's name of the referring task.
        category: the source's category of it, or "".
        mask: COCO's compressed RLE, or the file that holds the mask; None if the source
            declares that the expressions fit nothing in the image.
        sentences: at least one expression.
    """

    object_id: str
    ref_id: str
    category: str
    mask: str | pathlib.Path | None
    sentences: tuple[Sentence, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image of a split.

    Attributes:
        image_id: the source's name of it.
        path: its file.
        size: (height, width) of the annotated image, pixels.
        objects: at least one object.
    """

    image_id: str
    path: pathlib.Path
    size: tuple[int, int]
    objects: tuple[ReferredObject, ...]


# The images of each split, in the order of the records.
Annotations = dict[str, list[AnnotatedImage]]


class Problems:
    """Collects the problems of a data set, so that one error lists all of them.

    Attributes:
        lines: one line per problem, "FILE, RECORD: MESSAGE".
        respelled: paths that are no problem but differ from those on the disk, which
            are the values.
    """

    _MOST_SHOWN = 20

    def __init__(self):
        self.lines: list[str] = []
        self.respelled: dict[str, str] = {}

    def add(self, where: str, what: str) -> None:
        """Adds a problem.

        Args:
            where: the file and the record.
            what: the error message.
        """
        self.lines.append(f"{where}: {what}")

    def text(self) -> str:
        """Returns the first problems and the number of further ones."""
        shown = "\n  ".join(self.lines[: self._MOST_SHOWN])
        more = len(self.lines) - self._MOST_SHOWN
        plural = "s" if len(self.lines) != 1 else ""
        return (
            f"{len(self.lines)} problem{plural}:\n  {shown}"
            f"{f'{chr(10)}  and {more} more' if more > 0 else ''}"
        )

    def notes(self) -> list[str]:
        """Returns lines with the numbers of respelled paths."""
        windows = sum("\\" in path for path in self.respelled)
        others = len(self.respelled) - windows
        said = {
            f"paths written with \\ instead of /: {windows}": windows,
            f"names found in another Unicode form: {others}": others,
        }
        return [line for line, count in said.items() if count]


def expression_fault(expression) -> str:
    """Returns an error message for an unusable expression, or "".

    Tokenisers drop blanks and a final full stop, so "." is empty. "..." is not empty;
    ReferIt has it.
    """
    if not isinstance(expression, str):
        return f"the expression is {reprlib.repr(expression)}, not text"
    if expression.strip() in ("", "."):
        return "the expression is empty"
    try:
        expression.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can hold lone surrogates.
        return f"the expression cannot be stored ({error})"
    return ""


def missing_files(paths: list[str]) -> str:
    """Returns an error message for missing files."""
    return (
        f"{len(paths)} {'file is' if len(paths) == 1 else 'files are'} missing:\n  "
        + "\n  ".join(paths)
        + "\nREADME.md in the builder's folder lists their sources and their layout "
        "under --manual_dir."
    )
