"""Reads GloVe files into a table of word vectors."""

import contextlib
import gzip
import io
import pathlib
import re
import zipfile
from collections.abc import Iterator

import numpy as np

from restr_jax.data.text import PAD_ID, Vocabulary
from tfds_builders.storage.paths import typed

# Approximate standard deviation of GloVe's values, for words that GloVe lacks.
_ABSENT_STD = 0.4
# Characters. The longest of glove.840B are some 1,000 and 10.
_LONGEST_WORD, _LONGEST_VALUE = 10_000, 100
_HEADER = re.compile(r"[0-9]+ [0-9]+")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Converts reading errors into a ValueError that names the file."""
    try:
        yield
    except Exception as error:  # Each compression format has its own error types.
        if isinstance(error, OSError) and error.filename:
            raise  # The file cannot be opened, and the error already names it.
        raise ValueError(
            f"{path} is damaged or not UTF-8 text ({error}); download it again."
        ) from error


def _lines(path: pathlib.Path, width: int, longest: int) -> Iterator[str]:
    """Yields the lines of a text file, plain or compressed.

    Raises:
        ValueError: if the file is damaged or an archive without exactly one file of
            that width.
    """
    with contextlib.ExitStack() as opened:
        if path.suffix == ".zip":
            with _named(path):
                archive = opened.enter_context(zipfile.ZipFile(path))
                names = archive.namelist()
            name = _choose_glove(path, names, width)
        with _named(path):
            if path.suffix == ".zip":
                content = opened.enter_context(archive.open(name))
                file = io.TextIOWrapper(content, encoding="utf-8")
            else:
                opener = gzip.open if path.suffix == ".gz" else open
                file = opened.enter_context(opener(path, "rt", encoding="utf-8"))
            # A small compressed file may hold a line that exhausts memory.
            while line := file.readline(longest):
                yield line


def _choose_glove(path: pathlib.Path, names: list[str], width: int) -> str:
    """Selects a file of an archive; glove.6B.zip has four files of different widths."""
    texts = [name for name in names if name.endswith(".txt")]
    chosen = texts if len(texts) == 1 else [n for n in texts if f".{width}d." in n]
    if len(chosen) != 1:
        raise ValueError(
            f"{path} has {len(chosen)} text files of vectors with {width} values "
            f"among {texts}, expected one. Set config.model.language.width to the "
            "width of its vectors, or config.data.glove to the .txt file."
        )
    return chosen[0]


def _rows(path: pathlib.Path, width: int) -> Iterator[tuple[str, list[str], str]]:
    """Yields each word of a file, its values, and their location for messages."""
    longest = _LONGEST_WORD + _LONGEST_VALUE * width
    for number, line in enumerate(_lines(path, width, longest), start=1):
        where = f"{path}, line {number}"
        # Programs end lines with blanks, and word2vec's begin with a header: the
        # numbers of words and of values.
        line, is_cut = line.rstrip(" \t\r\n"), len(line) == longest
        is_header = number == 1 and width > 1 and _HEADER.fullmatch(line)
        if is_header or not (line or is_cut):
            continue
        # A few words of glove.840B contain spaces, so values are split from the end.
        word, *values = line.rsplit(" ", width)
        extra = sum(map(_is_number, word.split(" ")[1:]))
        if len(values) != width or extra or is_cut:
            raise ValueError(
                f"{where} has {len(values) + extra} values, not {width}; set "
                "config.data.glove to a file whose vectors are as wide as "
                "config.model.language.width."
            )
        yield word, values, where


def words(path: str | pathlib.Path, width: int) -> Iterator[str]:
    """Yields the words of a GloVe file in file order, the most frequent first.

    See `read` for arguments and errors.
    """
    return (word for word, _, _ in _rows(pathlib.Path(typed(path)), width))


def _vector(values: list[str], where: str) -> np.ndarray:
    try:
        vector = np.array(list(map(float, values)))
    except ValueError:
        vector = np.array([float(x) if _is_number(x) else np.nan for x in values])
    with np.errstate(over="ignore"):
        vector = vector.astype(np.float32)
    if not np.isfinite(vector).all():
        wrong = values[int(np.argmin(np.isfinite(vector)))]
        raise ValueError(
            f"{where} has the value {wrong!r}, not a finite number; download the file "
            "again."
        )
    return vector


def read(
    path: str | pathlib.Path, vocabulary: Vocabulary, width: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Reads the vectors of a vocabulary's words from a GloVe text file.

    Args:
        path: a ``.txt`` file, plain, as ``.txt.gz`` or in a ``.zip``, with a word and
            its values per line. A header line of word2vec is skipped. Of several files
            in a zip, the one of this width is read.
        vocabulary: the words to look up.
        width: E, values per word.
        seed: seed of the random vectors for words that GloVe lacks.

    Returns:
        The table, float32 [V, E], and the words that are not in the file. The padding
        row is zero. The row of unknown words is the mean of the vectors found, so an
        unknown word is not far from all others.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if a line does not have ``width`` values, a value of a vocabulary
            word is not finite, or the file is damaged.
    """
    path = pathlib.Path(typed(path))
    table = np.zeros((len(vocabulary), width), np.float32)
    wanted = {w: i for w, i in vocabulary.ids.items() if w not in vocabulary.special}
    found, total = np.zeros(len(vocabulary), bool), np.zeros(width)
    for word, values, where in _rows(path, width):
        row = wanted.pop(word, None)
        if row is not None:
            table[row] = _vector(values, where)
            found[row] = True
            total += table[row]
    absent = np.flatnonzero(~found)
    rng = np.random.default_rng(seed)
    table[absent] = rng.normal(0.0, _ABSENT_STD, (len(absent), width))
    if found.any():
        table[vocabulary.unknown_id] = total / found.sum()
    table[PAD_ID] = 0.0
    return table, sorted(wanted)
