"""The builder that every data set of downloaded files shares."""

import abc
import collections
import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized

import tensorflow_datasets as tfds
import tqdm

from tfds_builders import disk, images, masks, records, streamed
from tfds_builders.annotations import (
    AnnotatedImage,
    Annotations,
    Problems,
    ReferredObject,
    missing_files,
)


class ReferringBuilder(streamed.StreamedBuilder, skip_registration=True):
    """Builds a data set from annotation files and images in a manual directory.

    Everything that annotations and the heads of image files can show is checked before
    anything is written, and said at once. Images and mask files are read in threads.

    Attributes:
        PUBLISHED_FILES: "bytes" and "sha256" of annotation files as they were
            published, where they are known, relative to the manual directory.
        skip_bad: leave out what is wrong, and list it in the metadata, instead of
            refusing to build.
        num_workers: threads that read images.
    """

    PUBLISHED_FILES: Mapping[str, Mapping] = {}
    skip_bad = False
    num_workers = os.cpu_count() or 1

    def __init__(self, **kwargs):
        # A check takes minutes on a full data set, and comes before every build.
        self._checked: dict[pathlib.Path, tuple[Annotations, Problems]] = {}
        self._needed_bytes = 0
        super().__init__(**kwargs)

    @abc.abstractmethod
    def files(self) -> tuple[str, ...]:
        """Returns the annotation files it needs, relative to the manual directory."""

    @abc.abstractmethod
    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """Reads all annotations; what cannot be used goes into the problems.

        Raises:
            ValueError: if a file is not what it should be at all.
        """

    def check(self, root: pathlib.Path) -> tuple[Annotations, Problems]:
        """Reads all annotations and the heads of all images.

        Returns:
            What can be built, and what is wrong with the rest.

        Raises:
            FileNotFoundError: if an annotation file is missing; all are named.
            ValueError: if one is not what it should be at all.
        """
        if root not in self._checked:
            self._checked[root] = self._check(root)
        return self._checked[root]

    def needed_bytes(self) -> int:
        """See the base class; 0 before the check."""
        return self._needed_bytes

    def foreign_files(self, root: pathlib.Path) -> list[str]:
        """Names the annotation files that are not as they were published."""
        return [
            f"{file} is not the published file of {known['bytes']:,} bytes"
            for file, known in self.PUBLISHED_FILES.items()
            if file in self.files() and not _is_file(root / file, known)
        ]

    def make_record(self, image: AnnotatedImage, problems: Problems) -> dict | None:
        """Returns an image's record, or None if nothing of it can be used."""
        return make_record(image, problems)

    def faults(self) -> list[str]:
        """Returns what was built without, but is no reason to refuse to build."""
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

        found = self._in_threads(look, sizes.items(), "heads of images")
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
                # Splits may share images, as trainval does with train.
                problems.lines += [x for x in own.lines if x not in problems.lines]
                if record:
                    yield record

        yield from records.numbered(self, split, good())
        if not self.info.metadata["image_ids"][split]:
            problems.add(split, "no image of this split can be used")
            _refuse(problems)
        unfinished.discard(split)
        if not unfinished:
            # Only now, so that whatever is damaged in any split is said at once.
            if not self.skip_bad:
                _refuse(problems)
            self.info.metadata["skipped"] = [*problems.lines, *self.faults()]

    def _in_threads(self, function: Callable, items: Iterable, what: str) -> Iterator:
        """Maps in order and in parallel, not far ahead, with a progress display."""
        ahead: collections.deque = collections.deque()
        pool = concurrent.futures.ThreadPoolExecutor(self.num_workers)
        total = len(items) if isinstance(items, Sized) else None
        with tqdm.tqdm(total=total, desc=what, disable=None) as progress:
            try:
                for item in items:
                    ahead.append(pool.submit(function, item))
                    if len(ahead) > 4 * self.num_workers:
                        yield ahead.popleft().result()
                        progress.update()
                while ahead:
                    yield ahead.popleft().result()
                    progress.update()
            finally:
                pool.shutdown(cancel_futures=True)


def make_record(image: AnnotatedImage, problems: Problems) -> dict | None:
    """Opens an image and its masks.

    Returns:
        The record, or None if nothing of it can be used.
    """
    try:
        content = images.read_image(image.path)
    except (OSError, ValueError) as error:
        problems.add(str(image.path), str(error))
        return None
    objects, expressions = [], []
    for thing in image.objects:
        mask = _mask(thing, image, problems)
        if mask is None:
            continue
        for sentence in thing.sentences:
            expressions.append(
                {
                    "object": len(objects),
                    "sent_id": sentence.sent_id,
                    "sent": sentence.sent,
                    "raw": sentence.raw,
                    "kind": "",
                }
            )
        objects.append(
            {
                "object_id": thing.object_id,
                "ref_id": thing.ref_id,
                "category": thing.category,
                "mask": mask,
            }
        )
    if not objects:
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
        raise ValueError(
            f"{problems.text()}\nFix them, or build without them by --skip_bad."
        )
