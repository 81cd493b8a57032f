"""Sentences to word ids, and GloVe files to a table of word vectors."""

import contextlib
import dataclasses
import gzip
import io
import pathlib
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import numpy as np

from restr_jax.files import write_whole

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID = 0
_PADS_LEFT = {"right": False, "left": True}
# The spread of GloVe's own values, near enough, for words that GloVe lacks.
_ABSENT_STD = 0.4
_TOKEN = re.compile(r"\w+|[^\w\s]")
_BETWEEN_WORDS = re.compile(r"(\W+)")


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
        special: what every vocabulary begins with, the entry of padding first.
        repeats: whether an entry may occur again. Its last id counts.
    """

    split: Callable[[str], list[str]]
    special: tuple[str, ...]
    repeats: bool


TOKENIZERS = {
    "paper": Tokenizer(tokenize, (PAD, UNKNOWN), repeats=False),
    # The published vocabularies have blank lines and one word twice.
    "released": Tokenizer(
        tokenize_as_released, (PAD, "<go>", "<eos>", UNKNOWN), repeats=True
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

    @classmethod
    def from_sentences(
        cls,
        sentences: Iterable[str],
        tokenizer: str = "paper",
        padding: str = "right",
    ) -> "Vocabulary":
        """Collects the words of sentences, the most frequent first.

        Arguments and errors are those of the constructor.
        """
        how = _named("tokenizer", tokenizer, TOKENIZERS)
        counts = Counter(
            word
            for sentence in sentences
            for token in how.split(sentence)
            # An entry is a line of a file, without the spaces of some tokens.
            for word in token.split()
        )
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
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
        content = pathlib.Path(path).read_text(encoding="utf-8")
        words = [line.strip() for line in content.splitlines()]
        try:
            return cls(words, tokenizer, padding)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a file of one word per line."""
        write_whole(pathlib.Path(path), "\n".join(self.words) + "\n")

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
        unknown_id = len(self.special) - 1
        ids = np.full(max_words, PAD_ID, np.int32)
        start = max_words - len(tokens) if self._pads_left else 0
        ids[start : start + len(tokens)] = [
            self.ids.get(token, unknown_id) for token in tokens
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
                f"expression {sentence!r}; its {len(self)} words are in "
                "vocabulary.txt of its workdir."
            )
        return ids


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _open_glove(path: pathlib.Path, width: int) -> Iterator[TextIO]:
    """Opens a text file, as it is or compressed.

    Raises:
        ValueError: if it is damaged, or an archive without one file of that width.
    """
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                name = _choose_glove(path, archive.namelist(), width)
                with archive.open(name) as file:
                    yield io.TextIOWrapper(file, encoding="utf-8")
        else:
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8") as file:
                yield file
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); get it again.") from error


def _choose_glove(path: pathlib.Path, names: list[str], width: int) -> str:
    """Chooses the file of an archive; glove.6B.zip has four, by their widths."""
    texts = [name for name in names if name.endswith(".txt")]
    chosen = texts if len(texts) == 1 else [n for n in texts if f".{width}d." in n]
    if len(chosen) != 1:
        raise ValueError(
            f"{path} has {len(chosen)} text files of vectors with {width} values "
            f"(config.model.language.width) among {texts}, not one."
        )
    return chosen[0]


def read_glove(
    path: str | pathlib.Path, vocabulary: Vocabulary, width: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Reads the vectors of a vocabulary's words from a GloVe text file.

    Args:
        path: ``.txt``, alone or as ``.txt.gz`` or in a ``.zip``: a word and its values
            per line. Of several in a zip, that of the width is read.
        vocabulary: the words wanted.
        width: E, values per word.
        seed: of the random vectors that stand for words GloVe lacks.

    Returns:
        The table, float32 [V, E], its padding row zero; and the words that were not
        in the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line has not ``width`` values, or the file is damaged.
    """
    path = pathlib.Path(path)
    rng = np.random.default_rng(seed)
    table = rng.normal(0.0, _ABSENT_STD, (len(vocabulary), width)).astype(np.float32)
    wanted = {w: i for w, i in vocabulary.ids.items() if w not in vocabulary.special}
    with _open_glove(path, width) as file:
        for number, line in enumerate(file, start=1):
            # A few words of glove.840B hold spaces, so values are cut off the end.
            word, *values = line.rstrip("\n").rsplit(" ", width)
            extra = sum(map(_is_number, word.split(" ")[1:]))
            if len(values) != width or extra:
                raise ValueError(
                    f"{path}, line {number} has {len(values) + extra} values, not "
                    f"{width}; give the GloVe file whose vectors are as wide as "
                    "config.model.language.width."
                )
            row = wanted.pop(word, None)
            if row is not None:
                table[row] = np.array(values, np.float32)
    table[PAD_ID] = 0.0
    return table, sorted(wanted)
