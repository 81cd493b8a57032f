"""Built data sets to batches.

The training stream is a function of position: batch n depends on the seed, the data
and n alone, never on how many workers made it, how many processes share it or where a
run was resumed.
"""

import dataclasses
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator

import grain
import numpy as np

from restr_jax.data import flip, preprocess
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary

logger = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]

# Positions in the training stream. Grain's own endless repeat has as many as an index
# can count, which overflows in batches of one.
_ENDLESS = 2**48


@dataclasses.dataclass(frozen=True)
class Example:
    """Up to K expressions of one image, at the image's own size.

    Attributes:
        image: uint8 RGB.
        tokens: int32 [K, L].
        valid: bool [K]; false where the image had no further expression.
        masks: the objects' masks, one per valid expression; the same array for
            expressions of the same object.
        record: number of the record in its split.
        chosen: which of the record's expressions these are.
        sentences: what they say.
        fields: the record as it was stored.
    """

    image: np.ndarray
    tokens: np.ndarray
    valid: np.ndarray
    masks: list[np.ndarray]
    record: int
    chosen: np.ndarray
    sentences: list[str]
    fields: dict


@dataclasses.dataclass(frozen=True)
class Loader:
    """Makes examples of one split.

    Attributes:
        split: where records come from.
        vocabulary: words to ids.
        image_size: (height, width) of the network's input.
        resize: how images get there, see `preprocess.inner_box`.
        max_words: L.
        expressions: K.
    """

    split: Split
    vocabulary: Vocabulary
    image_size: tuple[int, int]
    resize: str
    max_words: int
    expressions: int

    def load(
        self, record: int, chosen: np.ndarray, *, mirrored: bool = False
    ) -> Example:
        """Loads the chosen expressions (at most K) of one record.

        Args:
            record: its number in the split.
            chosen: numbers of its expressions.
            mirrored: exchange left and right, in the pixels and in the sentences.

        Raises:
            ValueError: if record or image cannot be read; the message names it.
        """
        fields = self.split.source[record]
        name = f"{self.split.name}, image {fields['image_id'].decode()}"
        image = preprocess.decode_image(fields["image"], name)
        image = preprocess.mirror(image) if mirrored else image
        tokens = np.zeros((self.expressions, self.max_words), np.int32)
        valid = np.arange(self.expressions) < len(chosen)
        masks, sentences = [], []
        first: dict[int, int] = {}  # of each object's expressions
        for k, i in enumerate(chosen):
            sentence = self.split.sentences[record][i]
            sentence = flip.mirror_sentence(sentence) if mirrored else sentence
            sentences.append(sentence)
            tokens[k] = self.vocabulary.encode(sentence, self.max_words)
            place = int(fields["expressions"]["object"][i])
            same = first.setdefault(place, k)
            if same < k:
                masks.append(masks[same])
                continue
            counts = fields["objects"]["mask"][place]
            full = preprocess.decode_mask(counts, image.shape[:2])
            masks.append(preprocess.mirror(full) if mirrored else full)
        return Example(image, tokens, valid, masks, record, chosen, sentences, fields)

    def load_nothing(self, record: int) -> Example:
        """Returns what stands for a record that cannot be read: no expression of it."""
        tokens = np.zeros((self.expressions, self.max_words), np.int32)
        valid = np.zeros(self.expressions, bool)
        image, nothing = np.zeros((1, 1, 3), np.uint8), np.zeros(0, np.int64)
        return Example(image, tokens, valid, [], record, nothing, [], {})

    def stack(self, examples: list[Example]) -> Batch:
        """Makes a batch to train on.

        Returns:
            image [B, H, W, 3] uint8 and box [B, 4] int32 (`preprocess.place_image`),
            tokens [B, K, L] int32, valid [B, K] bool and mask [B, K, H, W] bool.
        """
        count, size, mode = len(examples), self.image_size, self.resize
        batch = self._words(examples, count) | {
            "image": np.zeros((count, *size, 3), np.uint8),
            "box": np.zeros((count, 4), np.int32),
            "mask": np.zeros((count, self.expressions, *size), bool),
        }
        for i, example in enumerate(examples):
            placed = preprocess.place_image(example.image, size, mode)
            batch["image"][i], batch["box"][i] = placed
            fitted: dict[int, np.ndarray] = {}  # by the identity of the mask
            for k, mask in enumerate(example.masks):
                if id(mask) not in fitted:
                    fitted[id(mask)] = preprocess.fit_mask(mask, size, mode)
                batch["mask"][i, k] = fitted[id(mask)]
        return batch

    def stack_to_score(self, examples: list[Example], batch_size: int) -> Batch:
        """Makes a batch to score; one that is short is filled with invalid examples.

        Returns:
            image [B, H, W, 3] float32 (`preprocess.fit_image`), tokens [B, K, L] int32
            and valid [B, K] bool.
        """
        batch = self._words(examples, batch_size)
        batch["image"] = np.zeros((batch_size, *self.image_size, 3), np.float32)
        for i, example in enumerate(examples):
            batch["image"][i] = preprocess.fit_image(
                example.image, self.image_size, self.resize
            )
        return batch

    def _words(self, examples: list[Example], batch_size: int) -> Batch:
        shape = batch_size, self.expressions
        batch = {
            "tokens": np.zeros((*shape, self.max_words), np.int32),
            "valid": np.zeros(shape, bool),
        }
        for i, example in enumerate(examples):
            batch["tokens"][i], batch["valid"][i] = example.tokens, example.valid
        return batch

    def groups(self) -> list[tuple[int, int]]:
        """Lists (record, part): every K expressions of every record once."""
        return [
            (record, part)
            for record, sentences in enumerate(self.split.sentences)
            for part in range(-(-len(sentences) // self.expressions))
        ]


def make_loader(config, split: Split, vocabulary: Vocabulary) -> Loader:
    """Returns the loader of a split that a configuration describes."""
    return Loader(
        split,
        vocabulary,
        tuple(config.model.image_size),
        config.data.resize,
        config.data.max_words,
        config.data.expressions_per_image,
    )


@dataclasses.dataclass(frozen=True)
class _MakeBatch:
    """Makes this process's rows of a batch of the stream; workers get a copy.

    Attributes:
        loader: makes the examples.
        groups: the loader's groups.
        seed: of all that is drawn.
        mirror: whether half of the examples are mirrored.
        skip_bad: whether what cannot be read is left out.
        rows: of the whole batch, this process's.
    """

    loader: Loader
    groups: list[tuple[int, int]]
    seed: int
    mirror: bool
    skip_bad: bool
    rows: slice

    def __call__(self, drawn: list[tuple[int, int]]) -> Batch:
        examples = [self._example(*position) for position in drawn[self.rows]]
        return self.loader.stack(examples)

    def _example(self, position: int, group: int) -> Example:
        record, part = self.groups[group]
        epoch = position // len(self.groups)
        # One generator for both: NumPy fills up seeds with zeros, so another one,
        # seeded with the part as well, would be this one again for part 0.
        rng = np.random.default_rng((self.seed, epoch, record))
        order = rng.permutation(len(self.loader.split.sentences[record]))
        mirrored = self.mirror and bool(rng.random(part + 1)[part] < 0.5)
        k = self.loader.expressions
        chosen = order[part * k : (part + 1) * k]
        try:
            return self.loader.load(record, chosen, mirrored=mirrored)
        except ValueError as error:
            if not self.skip_bad:
                raise
            logger.warning("left out: %s", error)
            return self.loader.load_nothing(record)


def train_batches(
    loader: Loader,
    batch_size: int,
    *,
    seed: int,
    start_step: int,
    num_workers: int,
    mirror: bool = False,
    skip_bad: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Returns the endless training stream from a step on; close it after use.

    An epoch shows every expression once, K of an image at a time; images, and the
    expressions of each, are shuffled anew in every epoch. There is one stream however
    many processes train: each makes its own rows of every batch.

    Args:
        loader: what makes examples.
        batch_size: B, images in a batch, over all processes.
        seed: of the order, and of what is mirrored.
        start_step: batches to skip; they are not made.
        num_workers: processes that make batches for this one; 0 takes threads.
        mirror: mirror half of the examples, see `Loader.load`.
        skip_bad: leave out what cannot be read, in whose place nothing is valid.
        process_index: which of the processes that train this is.
        process_count: how many train, b = B / process_count rows each.

    Returns:
        A generator of batches as `Loader.stack` makes them, of b images. It raises
        ChildProcessError if one of its processes is killed, and ValueError if a record
        cannot be read.

    Raises:
        ValueError: if the processes cannot share a batch equally.
    """
    share, rest = divmod(batch_size, process_count)
    if rest:
        raise ValueError(
            f"A batch of {batch_size} images does not divide over {process_count} "
            f"processes; set config.batch_size to a multiple of {process_count}."
        )
    groups = loader.groups()
    rows = slice(process_index * share, (process_index + 1) * share)
    epochs = _ENDLESS // len(groups) + 1
    positions = grain.MapDataset.range(len(groups)).seed(seed).shuffle().repeat(epochs)
    # Whole batches of mere numbers, cheap to draw, of which only `rows` are loaded.
    drawn = positions.map_with_index(lambda position, group: (position, group))
    drawn = drawn.batch(batch_size, batch_fn=list)[start_step:]
    # Little ahead, for batches are large; and a worker is quickest with one thread.
    threads, ahead = (1, 2) if num_workers else (4, 8)
    make = _MakeBatch(loader, groups, seed, mirror, skip_bad, rows)
    stream = drawn.map(make).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    )
    if num_workers:
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers),
            worker_init_fn=_end_with_parent,
        )
    return _explained(iter(stream))


def _explained(stream: grain.DatasetIterator[Batch]) -> Iterator[Batch]:
    """Says what to do if a worker was killed."""
    try:
        yield from stream
    except RuntimeError as error:
        if "Worker process" not in str(error):
            raise
        raise ChildProcessError(
            f"A process that makes batches was ended from outside ({error}), perhaps "
            "since memory ran out. Start the same command again, with fewer "
            "config.data.num_workers if need be."
        ) from error
    finally:
        stream.close()


def _end_with_parent(*_) -> None:
    """Ends a worker whose trainer was killed; it would wait for orders forever."""
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
    """Yields every expression of a split once, all those of an image together.

    Images come sorted by how many expressions they have, so that those of a batch have
    about as many. All batches have one shape.

    Args:
        loader: what makes examples; K is as many as any image has, not its own.
        images_per_device: in a batch, at most.
        num_devices: of this process.
        process_index: which of the processes that score this is.
        process_count: how many share the batches.

    Yields:
        A batch as `Loader.stack_to_score` makes it, and its examples.
    """
    counts = np.array([len(sentences) for sentences in loader.split.sentences])
    records = np.argsort(counts, kind="stable")
    records = records[counts[records] > 0]
    # No more images than there are: a small split needs no large batch.
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
