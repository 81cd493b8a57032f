"""Sentences to word ids.

This file needs NumPy alone: `restr export` puts a copy of it beside what it writes.
"""

import dataclasses
import itertools
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID = 0
_PADS_LEFT = {"right": False, "left": True}
_TOKEN = re.compile(r"\w+|[^\w\s]")
_BETWEEN_WORDS = re.compile(r"(\W+)")
_RELEASED_TOKEN = re.compile(r"\w+|[^\w\s]+")


def tokenize(sentence: str) -> list[str]:
    """Splits a sentence into lower-case words and punctuation marks.

    A final full stop says nothing about the object and is dropped.

    Raises:
        ValueError: if nothing is left.
    """
    tokens = _TOKEN.findall(sentence.lower())
    if tokens and tokens[-1] == ".":
        tokens.pop()
    if not tokens:
        raise _empty(sentence)
    return tokens


def tokenize_as_released(sentence: str) -> list[str]:
    """Splits a sentence as the authors' released program does.

    What stands between two words is one token, with its spaces, which no published
    vocabulary has: the comma of "red, left" is an unknown word, that of "red,left" is
    a comma. Only a final "." without a space before it is dropped; of the sentence "."
    nothing is left.

    Raises:
        ValueError: if the sentence is blank.
    """
    if not sentence.strip():
        raise _empty(sentence)
    pieces = _BETWEEN_WORDS.split(sentence.strip())
    tokens = [piece.lower() for piece in pieces if piece.strip()]
    return tokens[:-1] if tokens[-1] == "." else tokens


def _empty(sentence: str) -> ValueError:
    return ValueError(
        f"The expression {sentence!r} is empty; say in words which thing is meant."
    )


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A way to read sentences, with the vocabulary files that belong to it.

    Attributes:
        split: a sentence to its tokens.
        token: the form of a token that can be an entry, once it is in lower case.
        special: what every vocabulary begins with, the entry of padding first.
        repeats: whether an entry may occur again. Its last id counts.
    """

    split: Callable[[str], list[str]]
    token: re.Pattern[str]
    special: tuple[str, ...]
    repeats: bool


TOKENIZERS = {
    "paper": Tokenizer(tokenize, _TOKEN, (PAD, UNKNOWN), repeats=False),
    # The published vocabularies have blank lines and one word twice.
    "released": Tokenizer(
        tokenize_as_released,
        _RELEASED_TOKEN,
        (PAD, "<go>", "<eos>", UNKNOWN),
        repeats=True,
    ),
}


def _named(key: str, name: str, choices: dict[str, Any]) -> Any:
    if name not in choices:
        raise ValueError(
            f"Unknown config.data.{key} {name!r}; it is one of {tuple(choices)}."
        )
    return choices[name]


class Vocabulary:
    """Words and their ids: 0 is padding, the last special entry any unknown word.

    Attributes:
        words: every entry, in the order of the ids.
        special: those of them that stand for no word, the first few.
        ids: the id of each entry.
    """

    def __init__(
        self, words: Iterable[str], tokenizer: str = "paper", padding: str = "right"
    ):
        """Takes every entry, the special ones first.

        Args:
            words: the entries.
            tokenizer: the name of one of `TOKENIZERS`.
            padding: the side on which short sentences are padded, "right" or "left".

        Raises:
            ValueError: if the special entries differ, an entry repeats that must not,
                or there is no such tokenizer or side.
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
            raise ValueError(f"The vocabulary repeats {repeated[:5]}.")

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
        """Collects the words of sentences, the most frequent first.

        Args:
            sentences: where the words are.
            tokenizer: as of the constructor, whose errors this raises.
            padding: as of the constructor.
            min_count: rarer words are skipped, so that they are read as unknown.
        """
        how = _named("tokenizer", tokenizer, TOKENIZERS)
        counts = Counter(
            word
            for sentence in sentences
            for token in how.split(sentence)
            # An entry is a line of a file, without the spaces of some tokens.
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
            FileNotFoundError: if there is no such file.
            ValueError: if it is no vocabulary for this tokenizer; it is named.
        """
        try:
            content = pathlib.Path(path).read_text(encoding="utf-8")
            words = [line.strip() for line in content.splitlines()]
            return cls(words, tokenizer, padding)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def extended(self, words: Iterable[str], most: int) -> "Vocabulary":
        """Adds entries at the end, and so keeps the ids of all the others.

        Args:
            words: further words. Skipped are those that are here already, and those
                that are no token, such as "New" and "don't".
            most: words to add; later ones are skipped.
        """
        fits = self._tokenizer.token.fullmatch
        new = (w for w in words if w not in self.ids and w == w.lower() and fits(w))
        added = dict.fromkeys(itertools.islice(new, most))
        return Vocabulary((*self.words, *added), *self._how)

    def to_text(self) -> str:
        """Returns the content of a file of one word per line."""
        return "\n".join(self.words) + "\n"

    def tokenize(self, sentence: str) -> list[str]:
        """Splits a sentence as this vocabulary's tokenizer does."""
        return self._tokenizer.split(sentence)

    def unknown(self, sentence: str) -> list[str]:
        """Returns the words of a sentence that the vocabulary lacks."""
        return [token for token in self.tokenize(sentence) if token not in self.ids]

    def encode(self, sentence: str, max_words: int) -> np.ndarray:
        """Turns a sentence into ids, padded on the vocabulary's side.

        Args:
            sentence: what a person says of the object.
            max_words: L; words after it are cut off.

        Returns:
            int32 ids [L].

        Raises:
            ValueError: if the sentence is empty.
        """
        tokens = self.tokenize(sentence)[:max_words]
        ids = np.full(max_words, PAD_ID, np.int32)
        start = max_words - len(tokens) if self._pads_left else 0
        ids[start : start + len(tokens)] = [
            self.ids.get(token, self.unknown_id) for token in tokens
        ]
        return ids

    def encode_known(self, sentence: str, max_words: int) -> np.ndarray:
        """Like `encode`, for one's own sentences: some word has to be known.

        Raises:
            ValueError: if the sentence is empty or no word of it is known.
        """
        ids = self.encode(sentence, max_words)
        if not (ids >= len(self.special)).any():
            raise ValueError(
                f"The model knows none of the words {self.unknown(sentence)} of the "
                f"expression {sentence!r}; the "
                f"{len(self) - len(self.special)} that it knows are in vocabulary.txt "
                "beside its weights."
            )
        return ids
