"""Reads instances in COCO's format without keeping annotations in memory.

The files of the full COCO hold 860,000 annotations, and polygons take most of their
bytes. Annotations go to a temporary file entry by entry, and only their offsets stay in
memory.
"""

import array
import dataclasses
import itertools
import json
import os
import pathlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as mask_util

from tfds_builders import json_stream, masks
from tfds_builders.annotations import Problems
from tfds_builders.fields import (
    ID,
    PIXELS,
    TEXT,
    check_fields,
    plain,
    without_repeats,
)
from tfds_builders.instances import colours, names, things
from tfds_builders.storage.paths import ManualFolder

_IMAGE = {"id": ID, "file_name": TEXT, "height": PIXELS, "width": PIXELS}
_CATEGORY = {"id": ID, "name": TEXT}
_KEPT = ("id", "category_id", "segmentation", "iscrowd")


@dataclasses.dataclass(frozen=True, slots=True)
class Photograph:
    """An image entry.

    Attributes:
        key: its id in the file.
        name: the path of its file below the folder of the images.
        path: its file.
        size: (height, width), pixels.
    """

    key: str | int
    name: str
    path: pathlib.Path
    size: tuple[int, int]


def find_splits(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the file of each split: instances_SPLIT.json, with or without a year.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if a split has two files.
    """
    found: dict[str, pathlib.Path] = {}
    for path in sorted((*root.glob("*.json"), *root.glob("annotations/*.json"))):
        match = re.fullmatch(r"instances_([a-z]\w*?)(20\d\d)?", path.stem, re.ASCII)
        if not match:
            continue
        if match[1] in found:
            raise ValueError(
                f"{root} has the split {match[1]!r} twice, as {found[match[1]]} and as "
                f"{path}. Remove one."
            )
        found[match[1]] = path
    if not found:
        raise FileNotFoundError(
            f"{root} has no instances_train.json and no "
            "annotations/instances_train2017.json; expected one of them. "
            "tfds_builders/instances/README.md shows both layouts."
        )
    return found


class Instances:
    """The instances of one file.

    Attributes:
        photographs: the annotated images, in the order of the file.
        categories: the name of each category id, as `names.canonical` spells it.
        complete: classes annotated wherever they occur.
        faults: counts of skipped entries.
    """

    def __init__(
        self,
        path: pathlib.Path,
        root: pathlib.Path,
        all_annotated: bool,
        problems: Problems,
    ):
        """Reads the file.

        Args:
            path: path of the file.
            root: the folder of the images, or its parent.
            all_annotated: whether all objects of the listed categories are annotated.
            problems: receives a line for each unusable image.

        Raises:
            ValueError: if it is not in COCO's format.
        """
        self.path = path
        self.faults: Counter[str] = Counter()
        self.categories: dict[str | int, str] = {}
        self._waiting = tempfile.TemporaryFile()
        # (start, bytes) of each annotation of an image.
        self._places: dict[str | int, array.array] = {}
        entries: list[dict] = []
        try:
            self._read(entries, problems)
        except ValueError as error:
            raise ValueError(
                f"{path} is not in COCO's format: {error}. Expected lists of images, "
                "annotations and categories."
            ) from error
        self._waiting.flush()
        self.photographs = list(self._found(entries, root, problems))
        known = set(self.categories.values())
        self.complete = frozenset(known) if all_annotated else frozenset()
        if foreign := sorted(known - names.CLASSES):
            shown = ", ".join(foreign[:8])
            self.faults[
                f"categories outside COCO's 80 have only their own name ({shown}"
                f"{', ...' if len(foreign) > 8 else ''})"
            ] = len(foreign)

    def _read(self, entries: list[dict], problems: Problems) -> None:
        end = 0
        for part, entry in json_stream.entries(
            self.path, ("images", "annotations"), ("categories",), without_repeats
        ):
            try:
                if part == "images":
                    entries.append(check_fields(entry, _IMAGE, {}))
                elif part == "categories":
                    category = check_fields(entry, _CATEGORY, {})
                    name = names.canonical(category["name"])
                    self.categories[category["id"]] = name
                else:
                    entry |= check_fields(entry, {"image_id": ID}, {})
                    end += self._put_aside(entry, end)
            except ValueError as error:
                if part == "annotations":
                    self.faults["annotations without a usable image_id"] += 1
                else:
                    problems.add(f"{self.path}, {part}", str(error))

    def _put_aside(self, entry: dict, start: int) -> int:
        kept = {key: entry[key] for key in _KEPT if key in entry}
        line = json.dumps(kept, separators=(",", ":")).encode()
        self._waiting.write(line)
        places = self._places.setdefault(entry["image_id"], array.array("q"))
        places.extend((start, len(line)))
        return len(line)

    def _found(
        self, entries: list[dict], root: pathlib.Path, problems: Problems
    ) -> Iterator[Photograph]:
        stem = self.path.stem.removeprefix("instances_")
        folders = [root / stem, root / "images" / stem, root / "images", root]
        folder = next(f for f in (*folders, root) if f.is_dir())
        files = ManualFolder(folder, problems.respelled)
        seen: set[str | int] = set()
        for entry in entries:
            key, name = entry["id"], entry["file_name"]
            if key in seen:
                problems.add(f"{self.path}, image {key}", "two entries have this id")
            elif key in self._places:
                try:
                    name = files.find(name)
                except ValueError as error:
                    problems.add(f"{self.path}, image {key}", str(error))
                    continue
                size = entry["height"], entry["width"]
                yield Photograph(key, name, folder / name, size)
            seen.add(key)
        ownless = sum(len(x) // 2 for key, x in self._places.items() if key not in seen)
        if ownless:
            self.faults["annotations of an image without a usable entry"] = ownless

    def entries(self, key: str | int) -> Iterator[dict]:
        """Yields the annotations of an image; safe to call from many threads."""
        places = self._places.get(key, ())
        for start, size in zip(places[::2], places[1::2], strict=True):
            yield json.loads(os.pread(self._waiting.fileno(), size, start))

    def masks(
        self, photograph: Photograph, faults: Counter
    ) -> Iterator[tuple[str, str, str | None]]:
        """Yields (id, class, RLE) of each annotation of an image.

        The RLE is None for crowd regions and for missing or unreadable masks. The image
        then has objects of this class at unknown places.

        Args:
            photograph: the image.
            faults: counts unusable annotations.
        """
        for entry in self.entries(photograph.key):
            category = self._category(entry)
            if category is None:
                faults["annotations of an unlisted category"] += 1
                continue
            counts = None
            if not entry.get("segmentation"):
                faults["annotations without a mask; their classes are not named"] += 1
            elif not entry.get("iscrowd"):
                counts = _read_mask(entry, photograph, faults)
                unreadable = "unreadable masks; their classes are not named"
                faults.update([unreadable] if counts is None else [])
            yield str(entry.get("id", "")), category, counts

    def mask(self, photograph: Photograph, place: int) -> tuple[str, str, str | None]:
        """Returns the (id, class, RLE) of an instance that `cutouts` yielded."""
        entry = next(itertools.islice(self.entries(photograph.key), place, None))
        name, category = str(entry.get("id", "")), self._category(entry)
        return name, category, _read_mask(entry, photograph, Counter())

    def cutouts(self) -> Iterator[tuple[str, Photograph, int]]:
        """Yields (class, image, index among its annotations) of all instances."""
        for photograph in self.photographs:
            for place, entry in enumerate(self.entries(photograph.key)):
                category = self._category(entry)
                if category and entry.get("segmentation") and not entry.get("iscrowd"):
                    yield category, photograph, place

    def _category(self, entry: dict) -> str | None:
        category = plain(entry.get("category_id"))
        known = isinstance(category, str | int) and category in self.categories
        return self.categories[category] if known else None


def _read_mask(entry: dict, photograph: Photograph, faults: Counter) -> str | None:
    """Returns the RLE of an annotation, or None if it is unreadable."""
    segmentation, sliver = masks.without_slivers(entry["segmentation"])
    if sliver:
        faults["masks without their parts of fewer than 3 points"] += 1
    try:
        return masks.encode_segmentation(segmentation, *photograph.size)
    except (ValueError, TypeError):
        return None


def read_scene(
    instances: Instances, photograph: Photograph, pixels: np.ndarray, faults: Counter
) -> things.Scene:
    """Reads the annotated objects of an image.

    Args:
        instances: instances of its file.
        photograph: the image.
        pixels: uint8 [H, W, 3].
        faults: counts unusable annotations.
    """
    size = photograph.size
    scene = things.Scene(size, [], complete=instances.complete)
    blocked, coloured = set(), not colours.is_monochrome(pixels)
    for name, category, counts in instances.masks(photograph, faults):
        if counts is None:
            blocked.add(category)
            continue
        mask = mask_util.decode({"size": list(size), "counts": counts}).astype(bool)
        scene.things.append(
            things.measure(name, category, mask, counts, pixels, coloured)
        )
    scene.blocked = frozenset(blocked)
    return scene
