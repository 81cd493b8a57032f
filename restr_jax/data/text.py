"""Sentences to word ids, and GloVe files to a table of word vectors."""

import gzip
import pathlib
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from restr_jax.files import write_whole

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID, UNKNOWN_ID = 0, 1
# The spread of GloVe's own values, near enough, for words that GloVe lacks.
_ABSENT_STD = 0.4
_TOKEN = re.compile(r"\w+|[^\w\s]")


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
        raise ValueError(
            f"The expression {sentence!r} is empty; say in words which thing is meant."
        )
    return tokens


class Vocabulary:
    """Words and their ids: 0 is padding, 1 any unknown word.

    Attributes:
        words: every entry, in the order of the ids.
    """

    def __init__(self, words: Iterable[str]):
        """Takes every entry, ``<pad>`` and ``<unk>`` first.

        Raises:
            ValueError: if the first two differ or an entry repeats.
        """
        self.words = tuple(words)
        if self.words[:2] != (PAD, UNKNOWN):
            raise ValueError(
                f"A vocabulary starts with {PAD} and {UNKNOWN}, not with "
                f"{self.words[:2]}."
            )
        self._ids = {word: i for i, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            repeated = [w for w, n in Counter(self.words).items() if n > 1]
            raise ValueError(f"The vocabulary repeats {repeated[:5]}.")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def from_sentences(cls, sentences: Iterable[str]) -> "Vocabulary":
        """Collects the words of sentences, the most frequent first."""
        counts = Counter(token for s in sentences for token in tokenize(s))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls((PAD, UNKNOWN, *ordered))

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Vocabulary":
        """Reads a file of one word per line.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a vocabulary.
        """
        return cls(pathlib.Path(path).read_text(encoding="utf-8").splitlines())

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a file of one word per line."""
        write_whole(pathlib.Path(path), "\n".join(self.words) + "\n")

    def unknown(self, sentence: str) -> list[str]:
        """Returns the words of a sentence that the vocabulary lacks."""
        return [token for token in tokenize(sentence) if token not in self._ids]

    def encode(self, sentence: str, max_words: int) -> np.ndarray:
        """Turns a sentence into ids, padded on the right.

        Args:
            sentence: what a person says of the object.
            max_words: L; words after it are cut off.

        Returns:
            int32 ids [L].

        Raises:
            ValueError: if the sentence is empty.
        """
        tokens = tokenize(sentence)[:max_words]
        ids = np.full(max_words, PAD_ID, np.int32)
        ids[: len(tokens)] = [self._ids.get(token, UNKNOWN_ID) for token in tokens]
        return ids

    def encode_known(self, sentence: str, max_words: int) -> np.ndarray:
        """Like `encode`, for one's own sentences: some word has to be known.

        Raises:
            ValueError: if the sentence is empty or no word of it is known.
        """
        ids = self.encode(sentence, max_words)
        if not (ids > UNKNOWN_ID).any():
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


def read_glove(
    path: str | pathlib.Path, vocabulary: Vocabulary, width: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Reads the vectors of a vocabulary's words from a GloVe text file.

    Args:
        path: ``.txt``, or ``.txt.gz``: a word and its values per line.
        vocabulary: the words wanted.
        width: E, values per word.
        seed: of the random vectors that stand for words GloVe lacks.

    Returns:
        The table, float32 [V, E], its padding row zero; and the words that were not
        in the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line has not ``width`` values.
    """
    path = pathlib.Path(path)
    rng = np.random.default_rng(seed)
    table = rng.normal(0.0, _ABSENT_STD, (len(vocabulary), width)).astype(np.float32)
    wanted = {word: i for i, word in enumerate(vocabulary.words) if i > UNKNOWN_ID}
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
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
