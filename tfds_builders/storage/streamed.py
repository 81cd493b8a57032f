"""Writes splits record by record, in the order of generation.

TFDS's own writer keeps a whole split in memory, even without shuffling. Above 1,000 MiB
it moves the split to files, for which it needs TensorFlow.
"""

import abc
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from tfds_builders.storage import disk


class StreamedBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """A builder whose memory does not grow with the bytes that it writes.

    A record is written as soon as it is generated, and a shard ends when it is full.
    The name of a shard holds the number of shards, so shards are renamed when the split
    is complete. The number of records may be unknown in advance.

    Attributes:
        SHARD_BYTES: minimum bytes of serialized records in a shard, except in the last.
            TFDS's own writer starts a second shard at the same size.
    """

    SHARD_BYTES = 128 << 20

    def needed_bytes(self) -> int:
        """Returns an upper bound of the bytes of the built set; 0 if unknown."""
        return 0

    def _generate_splits(self, dl_manager, download_config) -> list:
        """Replaces the method of TFDS that chooses its writer."""
        generators = self._split_generators(dl_manager)
        disk.check_room(self.data_dir, {self.name: self.needed_bytes()})
        most = download_config.max_examples_per_split
        return [
            self._write_split(split, itertools.islice(examples, most))
            for split, examples in generators.items()
        ]

    def _write_split(
        self, split: str, examples: Iterable[tuple[int, dict]]
    ) -> tfds.core.SplitInfo:
        """Writes all shards of a split, whose folder TFDS renames at the end.

        Raises:
            ValueError: if there are no records.
        """
        template = self._get_filename_template(split_name=split)
        written = _Written(self.SHARD_BYTES)
        serializer = example_serializer.ExampleSerializer(
            self.info.features.get_serialized_info()
        )

        def serialized() -> Iterator[tuple[int, bytes]]:
            for key, example in examples:
                encoded = self.info.features.encode_example(example)
                yield key, serializer.serialize_example(encoded)

        unnamed: list[pathlib.Path] = []
        for _, records in itertools.groupby(serialized(), written.shard_of):
            path = pathlib.Path(template.data_dir) / f"{split}.{len(unnamed)}.unnamed"
            self._example_writer().write(os.fspath(path), written.counted(records))
            unnamed.append(path)
        if not unnamed:
            raise ValueError(
                f"The split {split!r} of {self.name} has no records; expected at "
                "least one. Remove the split, or add images to it."
            )
        for index, path in enumerate(unnamed):
            path.rename(
                template.sharded_filepath(shard_index=index, num_shards=len(unnamed))
            )
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=written.lengths,
            num_bytes=written.num_bytes,
            filename_template=template,
        )


class _Written:
    """Counts the records of a split so far.

    Attributes:
        num_bytes: bytes of all serialized records.
        lengths: number of records of each shard.
    """

    def __init__(self, shard_bytes: int):
        self._shard_bytes = shard_bytes
        self.num_bytes = 0
        self.lengths: list[int] = []

    def shard_of(self, record: tuple[int, bytes]) -> int:
        """Returns a number that changes after the record that fills a shard."""
        shard = self.num_bytes // self._shard_bytes
        self.num_bytes += len(record[1])
        return shard

    def counted(self, records: Iterable[tuple[int, bytes]]) -> Iterator:
        """Yields the records of a new shard, and counts them."""
        self.lengths.append(0)
        for record in records:
            self.lengths[-1] += 1
            yield record
