"""Splits of built data sets: which records there are, and what is said in them."""

import bisect
import dataclasses
import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True)
class Split:
    """Records that are trained on or scored together.

    Attributes:
        name: "dataset:split".
        source: the records, dictionaries, by number.
        sentences: the sentences of each record, in the order of its expressions.
        images: "image source/image id" of each record; two sets that share an image
            have the same entry.
    """

    name: str
    source: Sequence
    sentences: list[list[str]]
    images: list[str]


def open_split(data_dir: str, dataset: str, split: str) -> Split:
    """Opens one split of a built data set.

    Args:
        data_dir: folder of the built data sets.
        dataset: its folder there, "unc" or "gref/google".
        split: its split.

    Raises:
        FileNotFoundError: if it has not been built.
        DamagedRecordError: if a file of it is missing or cut short.
        ValueError: if it has no such split, or was built by something else.
    """
    info, source = _open_dataset(data_dir, dataset)
    if split not in info.splits:
        raise ValueError(
            f"The data set {dataset!r} has no split {split!r}; it has "
            f"{sorted(info.splits)}."
        )
    records = source(split)
    metadata = info.metadata or {}
    lists = [metadata.get(key, {}).get(split) for key in ("sentences", "image_ids")]
    if any(items is None or len(items) != len(records) for items in lists):
        raise ValueError(
            f"{os.path.join(data_dir, dataset)} does not list the sentences and images "
            f"of split {split!r}; build it again with tfds_builders.prepare."
        )
    sentences, image_ids = lists
    images = [f"{metadata['image_source']}/{image_id}" for image_id in image_ids]
    return Split(f"{dataset}:{split}", records, sentences, images)


def split_names(data_dir: str, dataset: str) -> list[str]:
    """Lists the splits of a built data set; errors as `open_split`."""
    info, _ = _open_dataset(data_dir, dataset)
    return list(info.splits)


def _open_dataset(data_dir: str, dataset: str):
    """Returns the info of a built data set, and what opens the records of a split."""
    folder = os.path.join(data_dir, dataset)
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    versions = [v for v in found if tfds.core.Version.is_valid(v)]
    if not versions:
        choices = [f"{dataset}/{f}" for f in found if _is_version_folder(folder, f)]
        if choices:
            raise ValueError(
                f"The data set {dataset!r} has several forms; say which: "
                f"{' or '.join(choices)}."
            )
        raise FileNotFoundError(
            f"There is no data set {dataset!r} in {data_dir!r}. Build it with\n"
            f"    python -m tfds_builders.prepare {dataset} --data_dir={data_dir}\n"
            f"(tfds_builders/{dataset.split('/')[0]}/README.md says what it needs), or "
            "set config.data.data_dir to where it is."
        )
    builder = tfds.builder_from_directory(
        os.path.join(folder, max(versions, key=tfds.core.Version))
    )

    def source(split: str) -> Sequence:
        read = builder.as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        records = _Records(f"{dataset}:{split}", read)
        # TFDS looks at no file before a record of it is asked for.
        starts = itertools.accumulate(builder.info.splits[split].shard_lengths[:-1])
        for first in [0, *starts] if len(records) else []:
            records[first]
        return records

    return builder.info, source


class DamagedRecordError(ValueError):
    """A record, or its file, is no longer what was written."""


@dataclasses.dataclass(frozen=True)
class _Records(Sequence):
    """The records of one split; one that cannot be read is said plainly.

    Every record has a checksum in its file, which ArrayRecord compares.
    """

    name: str
    source: Any

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        if index >= len(self):
            raise IndexError(index)  # Here iteration ends.
        try:
            return self.source[index]
        except (OSError, RuntimeError, ValueError) as error:
            raise DamagedRecordError(
                f"Record {index} of {self.name} cannot be read ({error}). Build the "
                "data set again: remove its folder, and run tfds_builders.prepare."
            ) from error


def _is_version_folder(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    names = os.listdir(path) if os.path.isdir(path) else []
    return any(map(tfds.core.Version.is_valid, names))


@dataclasses.dataclass(frozen=True)
class _Selection(Sequence):
    """Chosen records of several sources, in a row; workers get a copy."""

    sources: tuple[Sequence, ...]
    chosen: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> dict:
        part = bisect.bisect_right(self.ends, index)
        start = self.ends[part - 1] if part else 0
        return self.sources[part][self.chosen[part][index - start]]


def join(parts: Sequence[Split], without: set[str]) -> Split:
    """Joins splits, in a row, without the records of some images.

    Args:
        parts: the splits.
        without: images to leave out, as in `Split.images`.

    Raises:
        ValueError: if nothing is left.
    """
    if len(parts) == 1 and not without:
        return parts[0]
    name = " + ".join(part.name for part in parts)
    chosen = tuple(
        tuple(i for i, image in enumerate(part.images) if image not in without)
        for part in parts
    )
    ends = tuple(itertools.accumulate(map(len, chosen)))
    if not ends[-1]:
        raise ValueError(f"Every image of {name} is left out by config.data.exclude.")
    pairs = [(p, i) for p, c in zip(parts, chosen, strict=True) for i in c]
    return Split(
        name,
        _Selection(tuple(p.source for p in parts), chosen, ends),
        [part.sentences[i] for part, i in pairs],
        [part.images[i] for part, i in pairs],
    )


def has_object(record: dict, expression: int) -> bool:
    """Returns whether an expression of a record means an object, or fits nothing."""
    return int(record["expressions"]["object"][expression]) >= 0


def with_shuffled_text(split: Split, seed: int) -> Split:
    """Shuffles the sentences of a split over all its objects.

    What a model scores on it is a baseline that ignores the text. Sentences that fit
    nothing stay where they are: an empty answer to them would lower it.
    """
    moved = []
    for i, sentences in enumerate(split.sentences):
        record = split.source[i]
        moved.append([has_object(record, k) for k in range(len(sentences))])
    flat = [
        s
        for sentences, chosen in zip(split.sentences, moved, strict=True)
        for s in itertools.compress(sentences, chosen)
    ]
    order = np.random.default_rng(seed).permutation(len(flat))
    shuffled = iter(flat[i] for i in order)
    dealt = [
        [next(shuffled) if m else s for s, m in zip(sentences, chosen, strict=True)]
        for sentences, chosen in zip(split.sentences, moved, strict=True)
    ]
    return dataclasses.replace(split, sentences=dealt)
