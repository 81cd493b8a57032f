"""Reads users' own annotations: JSON lines or COCO-style JSON, one file per split.

    <split>.jsonl   a line for each expression, with its image and its mask
    <split>.json    COCO's format, with a list of `expressions` in each annotation

tfds_builders/custom/README.md explains every field. Users write all paths, unlike in a
published data set, so none may lead out of the manual directory.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator

from tfds_builders import images, masks
from tfds_builders.annotations import (
    AnnotatedImage,
    Annotations,
    Problems,
    ReferredObject,
    Sentence,
    expression_fault,
)
from tfds_builders.custom import coco
from tfds_builders.fields import (
    ID,
    TEXT,
    InThreads,
    check_fields,
    check_upright,
    parse_json,
    unknown_fields,
)
from tfds_builders.storage.paths import ManualFolder

# The fields of a line.
_REQUIRED = {
    "image": TEXT,
    "expression": TEXT,
    "mask": (
        (str, list, dict, type(None)),
        "the path of a PNG file, polygons or a COCO RLE, or null if nothing fits",
    ),
}
_OPTIONAL = {"object_id": ID, "category": TEXT}


def read_annotations(
    root: pathlib.Path, problems: Problems, in_threads: InThreads
) -> Annotations:
    """Reads all splits, their image headers and the mask files of JSON lines.

    Args:
        root: the manual directory.
        problems: receives a line for each unusable entry.
        in_threads: maps a function over many files.

    Raises:
        FileNotFoundError: if there are no splits.
        ValueError: if a whole file is unusable.
    """
    read = {".jsonl": _read_lines, ".json": coco.read_split}
    return {
        split: read[path.suffix.lower()](path, root, problems, in_threads)
        for split, path in find_splits(root).items()
    }


def find_splits(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the file of each split.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if a split has two files or an invalid name.
    """
    found: dict[str, pathlib.Path] = {}
    for path in sorted(root.iterdir() if root.is_dir() else ()):
        split = path.stem
        if path.suffix.lower() not in (".jsonl", ".json") or split.startswith("."):
            continue
        # TFDS reserves "all" for the union of all splits.
        if not re.fullmatch(r"\w+", split, re.ASCII) or split == "all":
            raise ValueError(
                f"{path} would be a split called {split!r}. A split name has only "
                "letters, digits and _, and is not 'all'. Rename the file, or move it "
                "elsewhere."
            )
        if split in found:
            raise ValueError(
                f"{root} has the split {split!r} twice, as {found[split].name} and as "
                f"{path.name}; remove one."
            )
        found[split] = path
    if not found:
        raise FileNotFoundError(
            f"{root} has no annotations. Put a file for each split there, train.jsonl "
            "and val.jsonl (JSON lines) or train.json and val.json (COCO's format); "
            "tfds_builders/custom/README.md shows both."
        )
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Line:
    """The content of a line.

    Attributes:
        number: line number from 1.
        image: path of the image.
        size: (height, width) of the image, pixels.
        mask: COCO's compressed RLE, or None if the expression fits nothing.
        expression: as written.
        object_id: id of the object, or None.
        category: category of the object, or "".
        fault: error message on a skipped part of the mask, or "".
    """

    number: int
    image: str
    size: tuple[int, int]
    mask: str | None
    expression: str
    object_id: str | None
    category: str
    fault: str


class _LineReader:
    """Reads single lines, and each image or mask file that they share only once."""

    def __init__(self, root: pathlib.Path, problems: Problems):
        self._root = root
        self._find = ManualFolder(root, problems.respelled).find
        self._size = functools.cache(_upright_size)
        self._mask_file = functools.cache(masks.read_mask_file)

    def read(self, number: int, content: bytes) -> _Line:
        """Reads a line.

        Raises:
            OSError: if a file cannot be read.
            ValueError: if the line, its image or its mask is unusable.
        """
        entry = parse_json(content)
        unknown = unknown_fields(entry, _REQUIRED | _OPTIONAL)
        if unknown:
            raise ValueError(
                f"{unknown}; a line has {', '.join(_REQUIRED)} and may have "
                f"{', '.join(_OPTIONAL)}"
            )
        fields = check_fields(entry, _REQUIRED, _OPTIONAL)
        fault = expression_fault(fields["expression"])
        if fault:
            raise ValueError(fault)
        image = self._find(fields["image"])
        size = self._of_file(self._size, image)
        mask, fault = fields["mask"], ""
        if mask is None:
            # An object has a mask, so this null would be an accident.
            named = [field for field in _OPTIONAL if field in fields]
            if named:
                raise ValueError(
                    f"its mask is null (nothing fits), but it has {', '.join(named)}; "
                    "give the mask of the object, or remove the other fields"
                )
            rle = None
        elif not isinstance(mask, str):
            mask, fault = masks.without_slivers(mask)
            rle = masks.encode_segmentation(mask, *size)
        elif pathlib.PurePosixPath(mask).suffix.lower() == ".png":
            rle = self._of_file(self._mask_file, self._find(mask), *size)
        else:  # Lossy formats such as JPEG change the mask.
            raise ValueError(f"the mask {mask!r} is not the path of a PNG file")
        object_id = fields.get("object_id")
        return _Line(
            number=number,
            image=image,
            size=size,
            mask=rle,
            expression=fields["expression"],
            object_id=None if object_id is None else str(object_id),
            category=fields.get("category", ""),
            fault=fault,
        )

    def _of_file(self, read: Callable, path: str, *size: int):
        try:
            return read(self._root / path, *size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _upright_size(path: pathlib.Path) -> tuple[int, int]:
    size = images.read_size(path)
    check_upright(path)
    return size


def _read_lines(
    path: pathlib.Path, root: pathlib.Path, problems: Problems, in_threads: InThreads
) -> list[AnnotatedImage]:
    reader = _LineReader(root, problems)

    def read(item: tuple[int, bytes]) -> tuple[int, _Line | str]:
        try:
            return item[0], reader.read(*item)
        except (OSError, ValueError) as error:
            return item[0], str(error)

    # The lines of each object, by image.
    gathered: dict[str, dict[tuple, list[_Line]]] = {}
    categories: dict[tuple, _Line] = {}
    number = 0
    for number, line in in_threads(read, _numbered(path), path.name):
        if isinstance(line, str):
            complaints = [line]
        else:
            complaints = [line.fault, _gather(line, gathered, categories)]
        for complaint in filter(None, complaints):
            problems.add(f"{path}, line {number}", complaint)
    if not number:
        raise ValueError(f"{path} has no lines; write one for each expression.")
    return [
        AnnotatedImage(
            image_id=image,
            path=root / image,
            size=next(iter(of_image.values()))[0].size,
            objects=tuple(_object(path.name, lines) for lines in of_image.values()),
        )
        for image, of_image in gathered.items()
    ]


def _numbered(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yields (number, line) of the lines that are not blank."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.removesuffix(b"\n")


def _gather(
    line: _Line,
    gathered: dict[str, dict[tuple, list[_Line]]],
    categories: dict[tuple, _Line],
) -> str:
    """Adds a line to those of its object, or returns how it contradicts them.

    Args:
        line: the line.
        gathered: the lines of each object so far, which share one mask.
        categories: the first line of each object that has a category.
    """
    # Without an object_id, the mask identifies the object.
    key = (line.mask,) if line.object_id is None else ("named", line.object_id)
    others = gathered.setdefault(line.image, {}).setdefault(key, [])
    if others and others[0].mask != line.mask:
        return (
            f"its mask is not that of line {others[0].number}, which has the same "
            f"object_id {line.object_id!r}"
        )
    if line.category:
        other = categories.setdefault((line.image, key), line)
        if other.category != line.category:
            return (
                f"its category {line.category!r} is not that of line {other.number}, "
                f"{other.category!r}, which is of the same object"
            )
    others.append(line)
    return ""


def _object(file: str, lines: list[_Line]) -> ReferredObject:
    """Makes one object from its lines; the first line names it if nothing else does."""
    object_id = lines[0].object_id
    if object_id is None:
        object_id = f"{file}:{lines[0].number}"
    return ReferredObject(
        object_id=object_id,
        ref_id=object_id,
        category=next((line.category for line in lines if line.category), ""),
        mask=lines[0].mask,
        sentences=tuple(
            Sentence(f"{file}:{line.number}", line.expression.strip(), line.expression)
            for line in lines
        ),
    )
