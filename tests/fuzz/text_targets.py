"""Targets that read text: expressions, vocabularies, word vectors, configurations."""

import argparse
import gzip
import io
import json
import zipfile

import numpy as np
from fuzz.contract import documented, target, text_of, write

from configs import common
from restr_jax.data import glove
from restr_jax.data.flip import mirror_sentence
from restr_jax.data.text import TOKENIZERS, Vocabulary
from restr_jax.demo import answers, markup
from restr_jax.evaluation import score
from restr_jax.pretrained import __main__ as pretrained

_SENTENCES = (
    b"The man on the left, in a blue hat.",
    b"don't -- know; red,left ... .",
    "Größe 左 İstanbul ß\u2028ﬁ\u0085 e\u0301".encode(),
    b"leftmost Rt lefty RIGHT upright",
)
_WORDS = "the man left red , ' ğ".split()
VOCABULARIES = [
    Vocabulary((*how.special, *_WORDS), name, padding)
    for name, how in TOKENIZERS.items()
    for padding in ("right", "left")
]
_LENGTH = 6


@target(*_SENTENCES)
def tokens(content):
    sentence = text_of(content)
    for vocabulary in VOCABULARIES:
        with documented():
            words = vocabulary.tokenize(sentence)
            assert all(word.strip() for word in words)
            ids = vocabulary.encode(sentence, _LENGTH)
            assert ids.shape == (_LENGTH,) and ids.dtype == np.int32
            assert ids.min() >= 0 and ids.max() < len(vocabulary)
            assert np.count_nonzero(ids) == min(len(words), _LENGTH)
            vocabulary.encode_known(sentence, _LENGTH)


@target(*_SENTENCES)
def mirrored(content):
    once = mirror_sentence(text_of(content))
    twice = mirror_sentence(once)
    assert mirror_sentence(twice) == once and len(twice) == len(text_of(content))
    assert twice.lower() == text_of(content).lower()


@target(*_SENTENCES, b"the red one\n\n the left one\r\n", b"\n".join([b"a"] * 8))
def expressions(content):
    with documented():
        lines = answers.read_expressions(text_of(content))
        assert len(lines) <= answers.MAX_EXPRESSIONS
        assert all(line == line.strip() != "" for line in lines)
        for line in lines:
            markup.write_error(line)


@target(*_SENTENCES, b"<pad>\n<unk>\nred", b"<pad> <go> <eos> ,.,")
def collected_vocabulary(content):
    """Asserts that a collected vocabulary survives being written and read."""
    sentences = content.decode("utf-8", errors="replace").split("\n")
    for name in TOKENIZERS:
        with documented():
            made = Vocabulary.from_sentences(sentences, name)
            path = write("made.txt", made.to_text().encode())
            assert Vocabulary.load(path, name).words == made.words


@target(
    b"<pad>\n<unk>\nthe\nred\n",
    b"<pad>\r\n<go>\r\n<eos>\r\n<unk>\r\n\r\nthe\r\nthe",
    "\ufeff<pad>\n<unk>\n\u2028\n\x85".encode(),
)
def vocabulary(content):
    path = write("vocabulary.txt", content)
    for name in TOKENIZERS:
        with documented("vocabulary.txt"):
            loaded = Vocabulary.load(path, name)
            assert max(loaded.ids.values()) < len(loaded)


def _read_glove(path):
    with documented(path.name):
        table, absent = glove.read(path, VOCABULARIES[0], 2, seed=0)
        assert table.shape == (len(VOCABULARIES[0]), 2) and table.dtype == np.float32
        assert np.isfinite(table).all() and not table[0].any()
        assert set(absent) <= set(_WORDS)


_GLOVE = "the 0.5 -1e3\nred 2 3\n. . . 4 5\n\u0085 1 2\nleft 1 nan\n".encode()


@target(_GLOVE, _GLOVE.replace(b"\n", b"\r\n"), b"the 1\n", b"the 1 2 3\n")
def glove_text(content):
    _read_glove(write("glove.txt", content))


def _zipped(content, name="glove.2d.txt", how=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr(name, content)
        archive.writestr("glove.3d.txt", b"the 1 2 3\n")
    return file.getvalue()


@target(gzip.compress(_GLOVE), gzip.compress(_GLOVE)[:-3])
def glove_gz(content):
    _read_glove(write("glove.txt.gz", content))


@target(
    _zipped(_GLOVE),
    _zipped(_GLOVE, how=zipfile.ZIP_STORED),
    _zipped(_GLOVE, how=zipfile.ZIP_BZIP2),
    _zipped(_GLOVE, how=zipfile.ZIP_LZMA),
    _zipped(_GLOVE, "größe.txt"),
)
def glove_zip(content):
    _read_glove(write("glove.zip", content))


_SUBJECTS = {
    "size": tuple(common.SIZES),
    "preset": tuple(common.PRESETS),
    "partition": ("google", "umd"),
}


@target(b"", b"tiny,released", b"B/16,umd", b"tiny,B/16", b",,paper")
def config_words(content):
    with documented():
        chosen = common.choose(text_of(content), _SUBJECTS)
        assert all(chosen[subject] in of for subject, of in _SUBJECTS.items())


@target(b"480x480", b"30x30", "٣x٣".encode(), b"0x1", b"x", b"1x1x1")
def sizes(content):
    for read in (score._side, pretrained._grid):
        with documented(also=[argparse.ArgumentTypeError]):
            assert all(side > 0 for side in read(text_of(content)))


@target(b"[1, 2]", json.dumps({"a": "</script><img>"}).encode(), b"<b>&amp;")
def page(content):
    """Asserts that typed text does not become HTML of the page."""
    said = markup.write_note(text_of(content))
    inner = said.partition(">")[2].partition(">")[2].rpartition("</p>")[0]
    assert "<" not in inner and ">" not in inner
