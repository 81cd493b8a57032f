"""Reports expressions that training or scoring would not read as they are meant."""

import logging
from collections.abc import Iterable, Iterator

from restr_jax.data import flip
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary
from tfds_builders.inspection.words import is_word

logger = logging.getLogger(__name__)


def warn(splits: Iterable[Split], vocabulary: Vocabulary, max_words: int) -> None:
    """Logs the lines of `of_words` on each of the splits, once per name."""
    for split in {split.name: split for split in splits}.values():
        for line in of_words(split, vocabulary, max_words):
            logger.warning("%s", line)


def of_words(split: Split, vocabulary: Vocabulary, max_words: int) -> Iterator[str]:
    """Yields a line on expressions without a known word, and one on those cut off.

    Args:
        split: the expressions.
        vocabulary: the words that a model knows.
        max_words: L; later words are not read.
    """
    total, unknown, long = 0, [], []
    for sentence in (s for record in split.sentences for s in record):
        try:
            tokens = vocabulary.tokenize(sentence)
        except ValueError:  # An empty expression; loading its record reports it.
            tokens = []
        total += 1
        if not any(token in vocabulary.ids for token in tokens if is_word(token)):
            unknown.append(sentence)
        if len(tokens) > max_words:
            long.append(sentence)
    if unknown:
        yield (
            f"{split.name}: {len(unknown):,} of {total:,} expressions have no word "
            f"that the model knows, such as {unknown[0]!r}"
        )
    if long:
        yield (
            f"{split.name}: {len(long):,} of {total:,} expressions have more than "
            f"config.data.max_words={max_words} words, and the last are not read, such "
            f"as {long[0]!r}"
        )


def of_flip(split: Split) -> Iterator[str]:
    """Yields a line if no expression has a word that a mirrored image changes."""
    said = (sentence for record in split.sentences for sentence in record)
    if all(flip.mirror_sentence(sentence) == sentence for sentence in said):
        yield (
            f"{split.name}: config.data.flip mirrors images and exchanges only English "
            "words for left and right, and no expression has one; set it to False if "
            "other words mean a side"
        )
