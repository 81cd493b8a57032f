"""Turns expressions into word ids.

This file depends only on NumPy and `words`, because `restr export` copies these two
files, as one, into every export.
"""

import dataclasses
import itertools
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfds_builders.inspection.words import split, split_as_written

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID = 0
_PADS_LEFT = {"right": False, "left": True}
_BETWEEN_WORDS = re.compile(r"(\W+)")
_RELEASED_TOKEN = re.compile(r"\w+|[^\w\s]+")


def tokenize(sentence: str) -> list[str]:
    """Splits an expression into lower-case words and punctuation marks.

    `split` serves all scripts. A final full stop carries no information about the
    object and is dropped.

    Raises:
        ValueError: if no token remains.
    """
    tokens = split(sentence)
    if tokens and tokens[-1] == ".":
        tokens.pop()
    if not tokens:
        raise _empty(sentence)
    return tokens


def tokenize_as_released(sentence: str) -> list[str]:
    """Splits an expression like the authors' released program.

    The characters between two words form one token, including spaces. Published
    vocabularies contain no token with a space: the comma of "red, left" is an unknown
    word, and that of "red,left" is a comma. Only a final "." without a space before it
    is dropped; the expression "." has no tokens. It is for English: combining marks end
    a word, and a Chinese sentence is one word.

    Raises:
        ValueError: if the expression is blank.
    """
    if not sentence.strip():
        raise _empty(sentence)
    pieces = _BETWEEN_WORDS.split(sentence.strip())
    tokens = [piece.lower() for piece in pieces if piece.strip()]
    return tokens[:-1] if tokens[-1] == "." else tokens


def _is_one(text: str) -> bool:
    # Word vectors have entries for typographic marks, though no expression finds them.
    return split_as_written(text) == [text]


def _empty(sentence: str) -> ValueError:
    return ValueError(
        f"The expression {sentence!r} is empty; describe the object in words."
    )


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A tokenization and the format of its vocabulary files.

    Attributes:
        split: splits an expression into tokens.
        is_entry: tells if a text in lower case is a token that can be an entry.
        special: the first entries of every vocabulary, padding first.
        repeats: allow repeated entries; the last id counts.
    """

    split: Callable[[str], list[str]]
    is_entry: Callable[[str], object]
    special: tuple[str, ...]
    repeats: bool


TOKENIZERS = {
    "paper": Tokenizer(tokenize, _is_one, (PAD, UNKNOWN), repeats=False),
    # The published vocabularies have blank lines and one word twice.
    "released": Tokenizer(
        tokenize_as_released,
        _RELEASED_TOKEN.fullmatch,
        (PAD, "<go>", "<eos>", UNKNOWN),
        repeats=True,
    ),
}


def _named(key: str, name: str, choices: dict[str, Any]) -> Any:
    if name not in choices:
        raise ValueError(
            f"Unknown config.data.{key} {name!r}; set it to one of {tuple(choices)}."
        )
    return choices[name]


class Vocabulary:
    """Words and their ids: 0 is padding, the last special entry any unknown word.

    Attributes:
        words: all entries, in the order of their ids.
        special: the leading entries that are not words.
        ids: the id of each entry.
    """

    def __init__(
        self, words: Iterable[str], tokenizer: str = "paper", padding: str = "right"
    ):
        """Creates a vocabulary from all entries, special ones first.

        Args:
            words: the entries.
            tokenizer: a key of `TOKENIZERS`.
            padding: the side on which short expressions are padded, "right" or "left".

        Raises:
            ValueError: if the special entries differ, an entry repeats although the
                tokenizer forbids it, or the tokenizer or side is unknown.
        """
        self.words = tuple(words)
        self._how = tokenizer, padding
        self._tokenizer = _named("tokenizer", tokenizer, TOKENIZERS)
        self._pads_left = _named("padding", padding, _PADS_LEFT)
        self.special = self._tokenizer.special
        start = self.words[: len(self.special)]
        if start != self.special:
            raise ValueError(
                f"A vocabulary for config.data.tokenizer={tokenizer!r} starts with "
                f"{', '.join(self.special)}, not with {', '.join(start)}."
            )
        self.ids = {word: i for i, word in enumerate(self.words)}
        if len(self.ids) != len(self.words) and not self._tokenizer.repeats:
            repeated = [w for w, n in Counter(self.words).items() if n > 1]
            raise ValueError(
                f"The vocabulary repeats {repeated[:5]}; remove the repeated lines."
            )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def unknown_id(self) -> int:
        """The id of any unknown word."""
        return len(self.special) - 1

    @classmethod
    def from_sentences(
        cls,
        sentences: Iterable[str],
        tokenizer: str = "paper",
        padding: str = "right",
        min_count: int = 0,
    ) -> "Vocabulary":
        """Collects the words of expressions, the most frequent first.

        Args:
            sentences: the expressions.
            tokenizer: as in the constructor, whose errors this raises.
            padding: as in the constructor.
            min_count: rarer words are skipped and later read as unknown.
        """
        how = _named("tokenizer", tokenizer, TOKENIZERS)
        counts = Counter(
            word
            for sentence in sentences
            for token in how.split(sentence)
            # An entry is one line of a file and cannot contain a token's spaces.
            for word in token.split()
        )
        kept = (word for word, count in counts.items() if count >= min_count)
        ordered = sorted(kept, key=lambda word: (-counts[word], word))
        return cls((*how.special, *ordered), tokenizer, padding)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path,
        tokenizer: str = "paper",
        padding: str = "right",
    ) -> "Vocabulary":
        """Reads a file of one word per line; its number, from 0, is the word's id.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it is not a vocabulary for this tokenizer; names the file.
        """
        try:
            content = pathlib.Path(path).read_text(encoding="utf-8")
            words = [line.strip() for line in content.splitlines()]
            return cls(words, tokenizer, padding)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def extended(self, words: Iterable[str], most: int) -> "Vocabulary":
        """Appends entries, which keeps the ids of all existing ones.

        Args:
            words: further words. Existing entries are skipped, and so are words that
                are not tokens, such as "New" and "don't".
            most: maximum number of words to add; later ones are skipped.
        """
        fits = self._tokenizer.is_entry
        new = (w for w in words if w not in self.ids and w == w.lower() and fits(w))
        added = dict.fromkeys(itertools.islice(new, most))
        return Vocabulary((*self.words, *added), *self._how)

    def to_text(self) -> str:
        """Returns the content of a file of one word per line."""
        return "\n".join(self.words) + "\n"

    def tokenize(self, sentence: str) -> list[str]:
        """Splits an expression with this vocabulary's tokenizer."""
        return self._tokenizer.split(sentence)

    def unknown(self, sentence: str) -> list[str]:
        """Returns the words of an expression that the vocabulary lacks."""
        return [token for token in self.tokenize(sentence) if token not in self.ids]

    def encode(self, sentence: str, max_words: int) -> np.ndarray:
        """Turns an expression into ids, padded on the vocabulary's side.

        Args:
            sentence: the referring expression.
            max_words: L; later words are cut off.

        Returns:
            int32 ids [L].

        Raises:
            ValueError: if the expression is empty.
        """
        tokens = self.tokenize(sentence)[:max_words]
        ids = np.full(max_words, PAD_ID, np.int32)
        start = max_words - len(tokens) if self._pads_left else 0
        ids[start : start + len(tokens)] = [
            self.ids.get(token, self.unknown_id) for token in tokens
        ]
        return ids

    def encode_known(self, sentence: str, max_words: int) -> np.ndarray:
        """Encodes an expression of a user, of which at least one word must be known.

        Raises:
            ValueError: if the expression is empty or contains no known word.
        """
        ids = self.encode(sentence, max_words)
        if not (ids >= len(self.special)).any():
            raise ValueError(
                f"The model knows none of the words {self.unknown(sentence)} of the "
                f"expression {sentence!r}; use some of its "
                f"{len(self) - len(self.special)} words, listed in vocabulary.txt "
                "beside its weights."
            )
        return ids
