"""Streams of batches for training and scoring.

The training stream is a function of position: batch n depends only on the seed, the
data and n. It is independent of the number of workers and processes, and of the step at
which a run resumes.
"""

import dataclasses
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from restr_jax.data import jitter
from restr_jax.data.loader import Batch, Example, Loader

logger = logging.getLogger(__name__)

# Length of the training stream. Grain's own endless repeat uses the largest index,
# which overflows with batches of one.
_ENDLESS = 2**48


@dataclasses.dataclass(frozen=True)
class _MakeBatch:
    """Makes this process's rows of a batch; each worker has a copy.

    Attributes:
        loader: makes the examples.
        groups: the loader's groups.
        seed: seed of all random draws.
        mirror: mirror half of the examples.
        word_dropout: probability that a word is read as unknown.
        color_jitter: strength of `jitter.draw_factors`; 0 keeps the colours.
        skip_bad: skip unreadable records.
        rows: this process's rows of the whole batch.
    """

    loader: Loader
    groups: list[tuple[int, int]]
    seed: int
    mirror: bool
    word_dropout: float
    color_jitter: float
    skip_bad: bool
    rows: slice

    def __call__(self, drawn: list[tuple[int, int]]) -> Batch:
        examples = [self._example(*position) for position in drawn[self.rows]]
        rows = np.arange(self.rows.start, self.rows.stop, dtype=np.int32)
        return self.loader.stack(examples) | {"row": rows}

    def _example(self, position: int, group: int) -> Example:
        record, part = self.groups[group]
        epoch = position // len(self.groups)
        # One generator for all three draws: NumPy pads seeds with zeros, so a second
        # one that is also seeded with the part would equal this one for part 0.
        rng = np.random.default_rng((self.seed, epoch, record))
        count, length = len(self.loader.split.sentences[record]), self.loader.max_words
        order = rng.permutation(count)
        dropped = None
        if self.word_dropout:
            # Drawn for all expressions of the record, so no draw is used twice.
            dropped = rng.random((count, length)) < self.word_dropout
        mirrored = self.mirror and bool(rng.random(part + 1)[part] < 0.5)
        k = self.loader.expressions
        chosen = order[part * k : (part + 1) * k]
        dropped = None if dropped is None else dropped[chosen]
        factors = None
        if self.color_jitter:
            # Differs from the generator above, since no part's seed ends with zero.
            own = np.random.default_rng((self.seed, epoch, record, part + 1))
            factors = jitter.draw_factors(own, self.color_jitter)
        try:
            return self.loader.load(
                record,
                chosen,
                mirrored=mirrored,
                dropped=dropped,
                color_factors=factors,
            )
        except ValueError as error:
            if not self.skip_bad:
                raise
            logger.warning("skipped: %s", error)
            return self.loader.load_nothing(record)


def train_batches(
    loader: Loader,
    batch_size: int,
    *,
    seed: int,
    start_step: int,
    num_workers: int,
    mirror: bool = False,
    word_dropout: float = 0.0,
    color_jitter: float = 0.0,
    skip_bad: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Returns the endless training stream from a given step; close it after use.

    An epoch contains every expression once, K of an image at a time. Images, and the
    expressions of each, are reshuffled in every epoch. All training processes share one
    stream; each makes its own rows of every batch.

    Args:
        loader: makes the examples.
        batch_size: B, images in a batch, over all processes.
        seed: seed of the order and of all random draws.
        start_step: number of batches to skip; they are not loaded.
        num_workers: processes that make batches for this one; 0 uses threads.
        mirror: mirror half of the examples, see `Loader.load`.
        word_dropout: probability that a word is read as unknown, see `Loader.load`.
        color_jitter: strength of `jitter.draw_factors`; 0 keeps the colours.
        skip_bad: replace unreadable records by examples without valid expressions.
        process_index: index of this training process.
        process_count: number of training processes, b = B / process_count rows each.

    Returns:
        A generator of batches as from `Loader.stack`, of b images, with their rows in
        the whole batch as ``row`` [b]. It raises ChildProcessError if a worker
        ends, and ValueError if a record is unreadable.

    Raises:
        ValueError: if the processes cannot share a batch equally.
    """
    share, rest = divmod(batch_size, process_count)
    if rest:
        raise ValueError(
            f"A batch of {batch_size} images cannot be split over {process_count} "
            f"processes; set config.batch_size to a multiple of {process_count}."
        )
    groups = loader.groups()
    rows = slice(process_index * share, (process_index + 1) * share)
    epochs = _ENDLESS // len(groups) + 1
    positions = grain.MapDataset.range(len(groups)).seed(seed).shuffle().repeat(epochs)
    # Whole batches of indices are cheap to draw; only `rows` of them are loaded.
    drawn = positions.map_with_index(lambda position, group: (position, group))
    drawn = drawn.batch(batch_size, batch_fn=list)[start_step:]
    # Prefetch few batches, because they are large. A worker is fastest with one thread.
    threads, ahead = (1, 2) if num_workers else (4, 8)
    make = _MakeBatch(
        loader, groups, seed, mirror, word_dropout, color_jitter, skip_bad, rows
    )
    stream = drawn.map(make).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    )
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads its own; scripts parse none.
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers),
            worker_init_fn=_end_with_parent,
        )
    return _explained(iter(stream))


def _explained(stream: grain.DatasetIterator[Batch]) -> Iterator[Batch]:
    """Adds a remedy to the error of a worker that ended."""
    try:
        yield from stream
    except RuntimeError as error:
        if "Worker process" not in str(error):
            raise
        remedy = (
            "was killed ({}), perhaps because memory ran out. Rerun the same command, "
            "if necessary with fewer config.data.num_workers."
        )
        if "exit code -" not in str(error):  # No signal: it ended by itself.
            remedy = (
                "ended ({}). Each one imports the script that was started: call the "
                'training below `if __name__ == "__main__":`, or set '
                "config.data.num_workers=0."
            )
        raise ChildProcessError(
            f"A process that makes batches {remedy.format(error)}"
        ) from error
    finally:
        stream.close()


def _end_with_parent(*_) -> None:
    """Ends a worker whose trainer was killed; otherwise it would wait forever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def eval_batches(
    loader: Loader,
    images_per_device: int,
    *,
    num_devices: int = 1,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[tuple[Batch, list[Example]]]:
    """Yields every expression of a split once, all expressions of an image together.

    Images are sorted by their number of expressions in descending order. Images of one
    batch therefore have similar numbers, and the incomplete last batch has few. All
    batches have the same shape.

    Args:
        loader: makes the examples; its K is replaced by the largest number of
            expressions of any image.
        images_per_device: maximum number of images per device in a batch.
        num_devices: number of devices of this process.
        process_index: index of this scoring process.
        process_count: number of processes that share the batches.

    Yields:
        A batch as from `Loader.stack_to_score`, and its examples.
    """
    counts = np.array([len(sentences) for sentences in loader.split.sentences])
    records = np.argsort(-counts, kind="stable")
    records = records[counts[records] > 0]
    # At most as many images as exist: a small split needs no large batch.
    share = min(images_per_device, -(-len(records) // num_devices))
    size = max(share, 1) * num_devices
    batches = [records[i : i + size] for i in range(0, len(records), size)]
    whole = dataclasses.replace(loader, expressions=int(counts.max(initial=1)))

    def load(chosen: np.ndarray) -> tuple[Batch, list[Example]]:
        examples = [whole.load(int(r), np.arange(counts[r])) for r in chosen]
        return whole.stack_to_score(examples, size), examples

    stream = iter(
        grain.MapDataset.source(batches[process_index::process_count])
        .map(load)
        .to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=4))
    )
    try:
        yield from stream
    finally:
        stream.close()
