import gzip
import zipfile

import numpy as np
import pytest

from restr_jax.data import text

WORDS = ("<pad>", "<unk>", "cat", "chair", "zebra")


@pytest.fixture
def vectors(testdata):
    """The text of a GloVe file of 24 words and 300 values."""
    return gzip.decompress((testdata / "glove_subset.300d.txt.gz").read_bytes())


def test_a_zip_gives_what_the_text_does(vectors, tmp_path):
    vocabulary = text.Vocabulary(WORDS)
    (tmp_path / "glove.txt").write_bytes(vectors)
    expected, absent = text.read_glove(tmp_path / "glove.txt", vocabulary, 300, 0)
    assert absent == ["zebra"]
    # As Stanford packs it: glove.840B alone, glove.6B in four widths.
    narrow = b"cat 1 2\n"
    for files in (
        {"glove.840B.300d.txt": vectors},
        {"glove.6B.50d.txt": narrow, "glove.6B.300d.txt": vectors, "readme.md": b""},
    ):
        with zipfile.ZipFile(tmp_path / "glove.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
        found, absent = text.read_glove(tmp_path / "glove.zip", vocabulary, 300, 0)
        np.testing.assert_array_equal(found, expected)
        assert absent == ["zebra"]
    with pytest.raises(ValueError, match=r"has 0 text files of vectors with 100 val"):
        text.read_glove(tmp_path / "glove.zip", vocabulary, 100, 0)


def test_a_zip_of_another_width_names_the_line(vectors, tmp_path):
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as file:
        file.writestr("glove.txt", vectors)
    with pytest.raises(ValueError, match=r"glove.zip, line 1 has 300 values, not 200"):
        text.read_glove(tmp_path / "glove.zip", text.Vocabulary(WORDS), 200, 0)


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_a_download_that_stopped_is_named(vectors, tmp_path, kind):
    path = tmp_path / f"glove.txt.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(vectors))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("glove.txt", vectors)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=rf"glove.txt.{kind} is damaged"):
        text.read_glove(path, text.Vocabulary(WORDS), 300, 0)
