"""Built data sets to batches.

The training stream is a function of position: batch n depends on the seed, the data
and n alone, never on how many workers made it or where a run was resumed.
"""

import dataclasses
from collections.abc import Iterator

import grain
import numpy as np

from restr_jax.data import preprocess
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary

Batch = dict[str, np.ndarray]

# Positions in the training stream. Grain's own endless repeat has as many as an index
# can count, which overflows in batches of one.
_ENDLESS = 2**48


@dataclasses.dataclass(frozen=True)
class Example:
    """K expressions of one image, ready for the network, and what to score them by.

    Attributes:
        image: float32 [H, W, 3].
        tokens: int32 [K, L].
        valid: bool [K]; false where the image had no further expression.
        original: uint8 RGB at its own size.
        masks: the objects' masks at the image's own size, one per valid expression.
        record: number of the record in its split.
        chosen: which of the record's expressions these are.
        fields: the record as it was stored.
    """

    image: np.ndarray
    tokens: np.ndarray
    valid: np.ndarray
    original: np.ndarray
    masks: list[np.ndarray]
    record: int
    chosen: np.ndarray
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

    def load(self, record: int, chosen: np.ndarray) -> Example:
        """Loads the chosen expressions (at most K) of one record."""
        fields = self.split.source[record]
        name = f"{self.split.name}, image {fields['image_id'].decode()}"
        image = preprocess.decode_image(fields["image"], name)
        tokens = np.zeros((self.expressions, self.max_words), np.int32)
        valid = np.arange(self.expressions) < len(chosen)
        masks = []
        for k, i in enumerate(chosen):
            sentence = self.split.sentences[record][i]
            tokens[k] = self.vocabulary.encode(sentence, self.max_words)
            counts = fields["objects"]["mask"][fields["expressions"]["object"][i]]
            masks.append(preprocess.decode_mask(counts, image.shape[:2]))
        fitted = preprocess.fit_image(image, self.image_size, self.resize)
        return Example(fitted, tokens, valid, image, masks, record, chosen, fields)

    def groups(self) -> list[tuple[int, int]]:
        """Lists (record, part): every K expressions of every record once."""
        return [
            (record, part)
            for record, sentences in enumerate(self.split.sentences)
            for part in range(-(-len(sentences) // self.expressions))
        ]


@dataclasses.dataclass(frozen=True)
class _TrainExamples:
    """The group of expressions at a position of the stream; workers get a copy."""

    loader: Loader
    groups: list[tuple[int, int]]
    seed: int

    def __call__(self, position: int, group: int) -> Example:
        record, part = self.groups[group]
        epoch = position // len(self.groups)
        rng = np.random.default_rng((self.seed, epoch, record))
        order = rng.permutation(len(self.loader.split.sentences[record]))
        k = self.loader.expressions
        return self.loader.load(record, order[part * k : (part + 1) * k])


@dataclasses.dataclass(frozen=True)
class _Stack:
    """Stacks examples; a batch that is short is filled with invalid ones."""

    loader: Loader
    batch_size: int

    def __call__(self, examples: list[Example]) -> Batch:
        loader, k = self.loader, self.loader.expressions
        height, width = loader.image_size
        batch = {
            "image": np.zeros((self.batch_size, height, width, 3), np.float32),
            "tokens": np.zeros((self.batch_size, k, loader.max_words), np.int32),
            "valid": np.zeros((self.batch_size, k), bool),
            "mask": np.zeros((self.batch_size, k, height, width), np.float32),
        }
        for i, example in enumerate(examples):
            batch["image"][i] = example.image
            batch["tokens"][i] = example.tokens
            batch["valid"][i] = example.valid
            for j, mask in enumerate(example.masks):
                fitted = preprocess.fit_mask(mask, loader.image_size, loader.resize)
                batch["mask"][i, j] = fitted
        return batch


def train_batches(
    loader: Loader, batch_size: int, *, seed: int, start_step: int, num_workers: int
) -> Iterator[Batch]:
    """Yields the endless training stream from a step on.

    An epoch shows every expression once, K of an image at a time; images, and the
    expressions of each, are shuffled anew in every epoch.

    Args:
        loader: what makes examples.
        batch_size: B, images in a batch.
        seed: of the order.
        start_step: batches to skip; they are not made.
        num_workers: processes; 0 makes batches in threads of this one.

    Yields:
        image [B, H, W, 3] float32, tokens [B, K, L] int32, valid [B, K] bool and
        mask [B, K, H, W] float32.
    """
    groups = loader.groups()

    epochs = _ENDLESS // len(groups) + 1
    positions = grain.MapDataset.range(len(groups)).seed(seed).shuffle().repeat(epochs)
    examples = positions.map_with_index(_TrainExamples(loader, groups, seed))
    batches = examples.batch(batch_size, batch_fn=_Stack(loader, batch_size))
    batches = batches[start_step:]
    stream = batches.to_iter_dataset(
        # On a short list of batches grain's default would decode far ahead.
        grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)
    )
    if num_workers:
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers)
        )
    return iter(stream)


def eval_batches(
    loader: Loader, batch_size: int
) -> Iterator[tuple[Batch, list[Example]]]:
    """Yields every expression of a split once, in order.

    Yields:
        A batch as in training, filled up with invalid expressions, and its examples.
    """
    groups, k = loader.groups(), loader.expressions

    def load(group: tuple[int, int]) -> Example:
        record, part = group
        every = np.arange(len(loader.split.sentences[record]))
        return loader.load(record, every[part * k : (part + 1) * k])

    stack = _Stack(loader, batch_size)
    batches = (
        grain.MapDataset.source(groups)
        .map(load)
        .batch(batch_size, batch_fn=lambda examples: (stack(examples), examples))
    )
    return iter(
        batches.to_iter_dataset(
            grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
        )
    )
