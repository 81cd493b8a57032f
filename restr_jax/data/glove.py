"""GloVe files to a table of word vectors."""

import contextlib
import gzip
import io
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import TextIO

import numpy as np

from restr_jax.data.text import PAD_ID, Vocabulary

# The spread of GloVe's own values, near enough, for words that GloVe lacks.
_ABSENT_STD = 0.4


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


def read(
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
