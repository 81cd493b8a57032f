"""Turns records of a built data set into examples, and examples into batches."""

import dataclasses

import numpy as np

from restr_jax.data import flip, jitter, preprocess
from restr_jax.data.splits import Split
from restr_jax.data.text import PAD_ID, Vocabulary

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Example:
    """Up to K expressions of one image, at the image's own size.

    Attributes:
        image: uint8 RGB.
        tokens: int32 [K, L].
        valid: bool [K]; false if the image has no further expression.
        masks: the objects' masks, one per valid expression; the same array for
            expressions of the same object, empty for expressions without an object.
        record: index of the record in its split.
        chosen: indices of these expressions in the record.
        sentences: their text.
        fields: the stored record.
    """

    image: np.ndarray
    tokens: np.ndarray
    valid: np.ndarray
    masks: list[np.ndarray]
    record: int
    chosen: np.ndarray
    sentences: list[str]
    fields: dict

    def object_of(self, k: int) -> int:
        """Returns the index of the object that expression k refers to; -1 if none."""
        return int(self.fields["expressions"]["object"][self.chosen[k]])


@dataclasses.dataclass(frozen=True)
class Loader:
    """Loads examples of one split.

    Attributes:
        split: source of the records.
        vocabulary: maps words to ids.
        image_size: (height, width) of the network's input.
        resize: resize mode, see `preprocess.inner_box`.
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
        self,
        record: int,
        chosen: np.ndarray,
        *,
        mirrored: bool = False,
        dropped: np.ndarray | None = None,
        color_factors: np.ndarray | None = None,
    ) -> Example:
        """Loads the chosen expressions (at most K) of one record.

        Args:
            record: its index in the split.
            chosen: indices of its expressions.
            mirrored: swap left and right, in the pixels and in the expressions.
            dropped: bool [len(chosen), L], positions whose words become unknown; an
                expression that would lose all of its words keeps them.
            color_factors: [3], see `jitter.vary`.

        Raises:
            ValueError: if the record or image is unreadable; the message names it.
        """
        fields = self.split.source[record]
        name = f"{self.split.name}, image {fields['image_id'].decode()}"
        image = preprocess.decode_image(fields["image"], name)
        image = preprocess.mirror(image) if mirrored else image
        if color_factors is not None:
            image = jitter.vary(image, color_factors)
        tokens = np.zeros((self.expressions, self.max_words), np.int32)
        valid = np.arange(self.expressions) < len(chosen)
        masks, sentences = [], []
        first: dict[int, int] = {}  # each object's first expression
        for k, i in enumerate(chosen):
            sentence = self.split.sentences[record][i]
            sentence = flip.mirror_sentence(sentence) if mirrored else sentence
            sentences.append(sentence)
            tokens[k] = self.vocabulary.encode(sentence, self.max_words)
            if dropped is not None:
                tokens[k] = self._drop(tokens[k], dropped[k])
            place = int(fields["expressions"]["object"][i])
            same = first.setdefault(place, k)
            if same < k:
                masks.append(masks[same])
                continue
            if place < 0:
                masks.append(np.zeros(image.shape[:2], bool))  # No object matches.
                continue
            counts = fields["objects"]["mask"][place]
            full = preprocess.decode_mask(counts, image.shape[:2])
            masks.append(preprocess.mirror(full) if mirrored else full)
        return Example(image, tokens, valid, masks, record, chosen, sentences, fields)

    def _drop(self, ids: np.ndarray, dropped: np.ndarray) -> np.ndarray:
        is_word = ids != PAD_ID
        if dropped[is_word].all():
            return ids
        return np.where(is_word & dropped, self.vocabulary.unknown_id, ids)

    def load_nothing(self, record: int) -> Example:
        """Returns the placeholder of an unreadable record, without any expression."""
        tokens = np.zeros((self.expressions, self.max_words), np.int32)
        valid = np.zeros(self.expressions, bool)
        image, nothing = np.zeros((1, 1, 3), np.uint8), np.zeros(0, np.int64)
        return Example(image, tokens, valid, [], record, nothing, [], {})

    def stack(self, examples: list[Example]) -> Batch:
        """Stacks examples into a training batch.

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
        """Stacks examples into a scoring batch, filled up with invalid examples.

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
        """Lists (record, part) such that every expression occurs once, K per part."""
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
