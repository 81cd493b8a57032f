"""The base class of all builders of downloaded data sets."""

import abc
import collections
import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized

import tensorflow_datasets as tfds

from tfds_builders import images, masks, records
from tfds_builders.annotations import (
    AnnotatedImage,
    Annotations,
    Problems,
    ReferredObject,
    missing_files,
)
from tfds_builders.inspection.progress import progress_bar
from tfds_builders.storage import disk, streamed


class ReferringBuilder(streamed.StreamedBuilder, skip_registration=True):
    """Builds a data set from annotation files and images in a manual directory.

    Annotations and image headers are checked before the first write, and one error
    lists all of their problems. Threads read the images and mask files.

    Attributes:
        PUBLISHED_FILES: known "bytes" and "sha256" of the published annotation files,
            by path relative to the manual directory.
        skip_bad: skip unusable records and list them in the metadata, instead of
            refusing to build.
        num_workers: number of threads that read images.
    """

    PUBLISHED_FILES: Mapping[str, Mapping] = {}
    skip_bad = False
    num_workers = os.cpu_count() or 1

    def __init__(self, **kwargs):
        # A check of a full data set takes minutes, and precedes every build.
        self._checked: dict[pathlib.Path, tuple[Annotations, Problems]] = {}
        self._needed_bytes = 0
        super().__init__(**kwargs)

    @abc.abstractmethod
    def files(self) -> tuple[str, ...]:
        """Returns the required annotation files, relative to the manual directory."""

    @abc.abstractmethod
    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """Reads all annotations; adds each unusable entry to the problems.

        Raises:
            ValueError: if a whole file is unusable.
        """

    def check(self, root: pathlib.Path) -> tuple[Annotations, Problems]:
        """Reads all annotations and the headers of all images.

        Returns:
            The usable annotations, and the problems of the others.

        Raises:
            FileNotFoundError: if annotation files are missing; the message lists them.
            ValueError: if a whole file is unusable.
        """
        if root not in self._checked:
            self._checked[root] = self._check(root)
        return self._checked[root]

    def needed_bytes(self) -> int:
        """See the base class; 0 before the check."""
        return self._needed_bytes

    def foreign_files(self, root: pathlib.Path) -> list[str]:
        """Returns a line for each annotation file that is not the published one."""
        return [
            f"{file} is not the published file of {known['bytes']:,} bytes"
            for file, known in self.PUBLISHED_FILES.items()
            if file in self.files() and not _is_file(root / file, known)
        ]

    def make_record(self, image: AnnotatedImage, problems: Problems) -> dict | None:
        """Returns the record of an image, or None if no expression is usable."""
        return make_record(image, problems)

    def faults(self) -> list[str]:
        """Returns lines on skipped inputs that are no reason to refuse a build."""
        return []

    def _described(self, root: pathlib.Path, file: str) -> str:
        known = self.PUBLISHED_FILES.get(file)
        size = f" ({known['bytes']:,} bytes, sha256 {known['sha256']})" if known else ""
        return f"{root / file}{size}"

    def _check(self, root: pathlib.Path) -> tuple[Annotations, Problems]:
        missing = [f for f in self.files() if not (root / f).is_file()]
        if missing:
            described = [self._described(root, file) for file in missing]
            raise FileNotFoundError(missing_files(described))
        problems = Problems()
        annotations = self.read_annotations(root, problems)
        sizes = {i.path: i.size for split in annotations.values() for i in split}
        good = {}

        def look(item):
            try:
                return item[0], images.check_size(*item), ""
            except (OSError, ValueError) as error:
                return item[0], 0, str(error)

        found = self._in_threads(look, sizes.items(), "image headers")
        for path, num_bytes, complaint in found:
            if complaint:
                problems.add(str(path), complaint)
            else:
                good[path] = num_bytes
        usable = {
            split: [image for image in of_split if image.path in good]
            for split, of_split in annotations.items()
        }
        self._needed_bytes = disk.needed_bytes(usable, good)
        return usable, problems

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        annotations, problems = self.check(pathlib.Path(dl_manager.manual_dir))
        if not self.skip_bad:
            _refuse(problems)
        unfinished = set(annotations)
        return {
            split: self._generate_examples(split, of_split, problems, unfinished)
            for split, of_split in annotations.items()
        }

    def _generate_examples(
        self,
        split: str,
        annotated: list[AnnotatedImage],
        problems: Problems,
        unfinished: set[str],
    ) -> Iterator[tuple[int, dict]]:
        def make(image: AnnotatedImage) -> tuple[dict | None, Problems]:
            own = Problems()
            return self.make_record(image, own), own

        def good() -> Iterator[dict]:
            what = f"{self.name}, {split}"
            for record, own in self._in_threads(make, annotated, what):
                # Splits such as trainval and train share images.
                problems.lines += [x for x in own.lines if x not in problems.lines]
                if record:
                    yield record

        yield from records.numbered(self, split, good())
        if not self.info.metadata["image_ids"][split]:
            problems.add(split, "no image of this split can be used")
            _refuse(problems)
        unfinished.discard(split)
        if not unfinished:
            # Refuse only now, so that one error lists the damage of all splits.
            if not self.skip_bad:
                _refuse(problems)
            self.info.metadata["skipped"] = [*problems.lines, *self.faults()]

    def _in_threads(self, function: Callable, items: Iterable, what: str) -> Iterator:
        """Maps in order in threads, with a bounded queue and a progress bar."""
        ahead: collections.deque = collections.deque()
        pool = concurrent.futures.ThreadPoolExecutor(self.num_workers)
        total = len(items) if isinstance(items, Sized) else None
        with progress_bar(total=total, desc=what) as bar:
            try:
                for item in items:
                    ahead.append(pool.submit(function, item))
                    if len(ahead) > 4 * self.num_workers:
                        yield ahead.popleft().result()
                        bar.update()
                while ahead:
                    yield ahead.popleft().result()
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)


def make_record(image: AnnotatedImage, problems: Problems) -> dict | None:
    """Reads an image and its masks.

    Returns:
        The record, or None if no expression is usable.
    """
    try:
        content = images.read_image(image.path)
    except (OSError, ValueError) as error:
        problems.add(str(image.path), str(error))
        return None
    objects, expressions = [], []
    for thing in image.objects:
        place, kind = -1, "nothing"
        if thing.mask is not None:
            mask = _mask(thing, image, problems)
            if mask is None:
                continue
            place, kind = len(objects), ""
            objects.append(
                {
                    "object_id": thing.object_id,
                    "ref_id": thing.ref_id,
                    "category": thing.category,
                    "mask": mask,
                }
            )
        expressions += [
            {
                "object": place,
                "sent_id": sentence.sent_id,
                "sent": sentence.sent,
                "raw": sentence.raw,
                "kind": kind,
            }
            for sentence in thing.sentences
        ]
    if not expressions:
        return None
    return {
        "image": content,
        "image_id": image.image_id,
        "objects": objects,
        "expressions": expressions,
    }


def _mask(
    thing: ReferredObject, image: AnnotatedImage, problems: Problems
) -> str | None:
    if isinstance(thing.mask, str):
        return thing.mask
    try:
        return masks.read_mask_file(thing.mask, *image.size)
    except ValueError as error:
        problems.add(f"{thing.mask}, object {thing.object_id}", str(error))
        return None


def _is_file(path: pathlib.Path, known: Mapping) -> bool:
    if path.stat().st_size != known["bytes"]:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == known["sha256"]


def _refuse(problems: Problems) -> None:
    if problems.lines:
        raise ValueError(f"{problems.text()}\nFix these, or skip them with --skip_bad.")
