"""Splits of built data sets: their records and expressions."""

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


def open_split(data_dir: str, dataset: str, split: str) -> Split:
    """Opens one split of a built data set.

    Args:
        data_dir: folder of the built data sets.
        dataset: its folder there, such as "unc" or "gref/google".
        split: name of the split.

    Raises:
        FileNotFoundError: if the data set has not been built.
        DamagedRecordError: if one of its files is missing or truncated.
        ValueError: if it has no such split, or another program built it.
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
            f"of split {split!r}; remove the folder and rebuild it with "
            "tfds_builders.prepare."
        )
    sentences, image_ids = lists
    images = [f"{metadata['image_source']}/{image_id}" for image_id in image_ids]
    return Split(f"{dataset}:{split}", records, sentences, images)


def split_names(data_dir: str, dataset: str) -> list[str]:
    """Lists the splits of a built data set; raises the errors of `open_split`."""
    info, _ = _open_dataset(data_dir, dataset)
    return list(info.splits)


def _open_dataset(data_dir: str, dataset: str):
    """Returns the info of a built data set and a function that opens a split."""
    folder = os.path.join(data_dir, dataset)
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    versions = [v for v in found if tfds.core.Version.is_valid(v)]
    if not versions:
        choices = [f"{dataset}/{f}" for f in found if _is_version_folder(folder, f)]
        if choices:
            raise ValueError(
                f"The data set {dataset!r} has several forms; name one of them: "
                f"{' or '.join(choices)}."
            )
        raise FileNotFoundError(
            f"There is no data set {dataset!r} in {data_dir!r}. Build it with\n"
            f"    python -m tfds_builders.prepare {dataset} --data_dir={data_dir}\n"
            f"(tfds_builders/{dataset.split('/')[0]}/README.md lists its inputs), or "
            "set config.data.data_dir to its folder."
        )
    builder = tfds.builder_from_directory(
        os.path.join(folder, max(versions, key=tfds.core.Version))
    )

    def source(split: str) -> Sequence:
        read = builder.as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        records = _Records(f"{dataset}:{split}", read)
        # TFDS opens a file only when one of its records is read. Reading the first
        # record of each file reports missing and truncated files early.
        starts = itertools.accumulate(builder.info.splits[split].shard_lengths[:-1])
        for first in [0, *starts] if len(records) else []:
            records[first]
        return records

    return builder.info, source


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


def _is_version_folder(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    names = os.listdir(path) if os.path.isdir(path) else []
    return any(map(tfds.core.Version.is_valid, names))


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
