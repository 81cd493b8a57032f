"""Splits of built data sets: their records and expressions."""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfds_builders.storage.built import Built


@dataclasses.dataclass(frozen=True)
class Split:
    """Records for training or scoring.

    Attributes:
        name: "dataset:split".
        source: the records, dictionaries, by index.
        sentences: the text of each record's expressions, in their order.
        images: "image source/image id" of each record; two data sets that share an
            image have the same entry.
    """

    name: str
    source: Sequence
    sentences: list[list[str]]
    images: list[str]


class DataSet:
    """A built data set.

    Attributes:
        splits: the names of its splits.
    """

    def __init__(self, data_dir: str, name: str):
        """Reads the description of a data set, and none of its records.

        Args:
            data_dir: folder of the built data sets.
            name: its folder there, such as "unc" or "gref/google".

        Raises:
            FileNotFoundError: if the data set has not been built.
            ValueError: if it has several forms, is damaged, or was built by another
                program.
        """
        self._built = Built(data_dir, name)
        self.splits = tuple(self._built.info.splits)

    def __getitem__(self, split: str) -> Split:
        """Opens one split.

        Raises:
            DamagedRecordError: if one of its files is missing or truncated.
            ValueError: if there is no such split, or its description is incomplete.
        """
        built = self._built
        if split not in self.splits:
            raise ValueError(
                f"The data set {built.name!r} has no split {split!r}; it has "
                f"{sorted(self.splits)}."
            )
        name = f"{built.name}:{split}"
        records = _Records(name, built.records(split))
        sentences = built.metadata.get("sentences", {}).get(split, [])
        images = built.images(split)
        if {len(sentences), len(images)} != {len(records)}:
            raise ValueError(
                f"{built.folder} does not list the sentences and images of split "
                f"{split!r}; remove the folder and rebuild it with "
                "tfds_builders.prepare."
            )
        # TFDS opens a file only when one of its records is read. Reading the first
        # record of each file reports missing and truncated files early.
        starts = itertools.accumulate(built.info.splits[split].shard_lengths[:-1])
        for first in [0, *starts] if len(records) else []:
            records[first]
        return Split(name, records, sentences, images)


def open_split(data_dir: str, dataset: str, split: str) -> Split:
    """Opens one split of a built data set; see `DataSet` for arguments and errors."""
    return DataSet(data_dir, dataset)[split]


class DamagedRecordError(ValueError):
    """A record or its file differs from the data that were written."""


@dataclasses.dataclass(frozen=True)
class _Records(Sequence):
    """The records of one split; names the record in errors of unreadable ones.

    ArrayRecord verifies the checksum of every record.
    """

    name: str
    source: Any

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        if index >= len(self):
            raise IndexError(index)  # Ends iteration.
        try:
            return self.source[index]
        except (OSError, RuntimeError, ValueError) as error:
            raise DamagedRecordError(
                f"Record {index} of {self.name} cannot be read ({error}). Build the "
                "data set again: remove its folder, then run tfds_builders.prepare."
            ) from error


@dataclasses.dataclass(frozen=True)
class _Selection(Sequence):
    """Selected records of several sources, concatenated; each worker has a copy."""

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
    """Concatenates splits, excluding the records of some images.

    Args:
        parts: the splits.
        without: images to exclude, as in `Split.images`.

    Raises:
        ValueError: if no record remains.
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
        raise ValueError(
            f"config.data.exclude excludes every image of {name}; remove a data set "
            "from it."
        )
    pairs = [(p, i) for p, c in zip(parts, chosen, strict=True) for i in c]
    return Split(
        name,
        _Selection(tuple(p.source for p in parts), chosen, ends),
        [part.sentences[i] for part, i in pairs],
        [part.images[i] for part, i in pairs],
    )


def has_object(record: dict, expression: int) -> bool:
    """Returns True if an expression of a record refers to an object."""
    return int(record["expressions"]["object"][expression]) >= 0


def with_shuffled_text(split: Split, seed: int) -> Split:
    """Shuffles the expressions of a split across its objects.

    A model's score on it is a baseline that ignores the text. Expressions without an
    object keep their places: an empty mask for them would lower the baseline.
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
