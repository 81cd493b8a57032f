import gzip
import zipfile

import numpy as np
import pytest

from restr_jax.data import glove
from restr_jax.data.text import TOKENIZERS, Vocabulary

WORDS = ("<pad>", "<unk>", "cat", "chair", "zebra")


@pytest.fixture
def vectors(testdata):
    """Returns a text in GloVe's format: 24 words and 300 made-up values each."""
    return gzip.decompress((testdata / "vectors.300d.txt.gz").read_bytes())


def test_a_zip_gives_the_same_vectors_as_the_text(vectors, tmp_path):
    vocabulary = Vocabulary(WORDS)
    (tmp_path / "glove.txt").write_bytes(vectors)
    expected, absent = glove.read(tmp_path / "glove.txt", vocabulary, 300, 0)
    assert absent == ["zebra"]
    # Packed as by Stanford: glove.840B alone, glove.6B in four widths.
    narrow = b"cat 1 2\n"
    for files in (
        {"glove.840B.300d.txt": vectors},
        {"glove.6B.50d.txt": narrow, "glove.6B.300d.txt": vectors, "readme.md": b""},
    ):
        with zipfile.ZipFile(tmp_path / "glove.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
        found, absent = glove.read(tmp_path / "glove.zip", vocabulary, 300, 0)
        np.testing.assert_array_equal(found, expected)
        assert absent == ["zebra"]
    with pytest.raises(ValueError, match=r"has 0 text files of vectors with 100 val"):
        glove.read(tmp_path / "glove.zip", vocabulary, 100, 0)


def test_a_zip_of_another_width_names_the_line(vectors, tmp_path):
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as file:
        file.writestr("glove.txt", vectors)
    with pytest.raises(ValueError, match=r"glove.zip, line 1 has 300 values, not 200"):
        glove.read(tmp_path / "glove.zip", Vocabulary(WORDS), 200, 0)


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_an_incomplete_download_is_named(vectors, tmp_path, kind):
    path = tmp_path / f"glove.txt.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(vectors))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("glove.txt", vectors)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=rf"glove.txt.{kind} is damaged"):
        glove.read(path, Vocabulary(WORDS), 300, 0)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_real_glove_vectors_are_as_similar_as_published(real_samples):
    vocabulary = Vocabulary(["<pad>", "<unk>", "dog", "cat", "couch", "bed"])
    path = real_samples / "real/glove/glove.6B.300d.subset.txt.gz"
    table, absent = glove.read(path, vocabulary, 300, seed=0)
    # Reference values from glove.6B.300d.
    assert round(float(cosine(table[2], table[3])), 3) == 0.682
    assert round(float(cosine(table[4], table[5])), 3) == 0.483
    assert absent == []


def test_vectors_land_in_their_rows(testdata):
    words = ["dog", "cat", "couch", "bed", "qwertzuiop"]
    vocabulary = Vocabulary(["<pad>", "<unk>", *words])
    path = testdata / "vectors.300d.txt.gz"
    table, absent = glove.read(path, vocabulary, 300, seed=0)
    assert table.shape == (7, 300) and table.dtype == np.float32
    # As in the file, computed apart from it.
    assert round(float(cosine(table[2], table[3])), 3) == -0.069
    assert round(float(cosine(table[4], table[5])), 3) == 0.003
    assert absent == ["qwertzuiop"]
    assert not table[0].any() and table[6].any()
    again, _ = glove.read(path, vocabulary, 300, seed=0)
    other, _ = glove.read(path, vocabulary, 300, seed=1)
    np.testing.assert_array_equal(table, again)
    assert (table[6] != other[6]).all() and (table[2] == other[2]).all()


def test_glove_fills_the_rows_of_a_published_vocabulary(tmp_path):
    (tmp_path / "glove.txt").write_text("<go> 9 9\n. 1 2\ncat 3 4\n")
    words = ["<pad>", "<go>", "<eos>", "<unk>", ".", "", "cat", "."]
    vocabulary = Vocabulary(words, "released")
    table, _ = glove.read(tmp_path / "glove.txt", vocabulary, 2, seed=0)
    # Special entries are not words; a repeated word gets its last row.
    assert table[7].tolist() == [1.0, 2.0] and table[6].tolist() == [3.0, 4.0]
    assert table[4].tolist() != [1.0, 2.0] and table[1].tolist() != [9.0, 9.0]


def test_words_with_spaces_and_plain_text_files_are_read(tmp_path):
    (tmp_path / "glove.txt").write_text(". . . 1 2\ncat 3 4\n")
    vocabulary = Vocabulary(["<pad>", "<unk>", "cat"])
    table, absent = glove.read(tmp_path / "glove.txt", vocabulary, 2, seed=0)
    assert table[2].tolist() == [3.0, 4.0] and absent == []


def test_vectors_of_another_width_are_refused(tmp_path):
    with gzip.open(tmp_path / "glove.txt.gz", "wt") as file:
        file.write("cat 1 2 3\ndog 1 2\n")
    vocabulary = Vocabulary(["<pad>", "<unk>", "cat"])
    with pytest.raises(ValueError, match="line 2 has 2 values, not 3"):
        glove.read(tmp_path / "glove.txt.gz", vocabulary, 3, seed=0)
    with pytest.raises(FileNotFoundError):
        glove.read(tmp_path / "absent.txt", vocabulary, 3, seed=0)


def test_rows_of_the_table_are_lines_of_the_file(testdata):
    path = testdata / "vectors.300d.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    words = [line[0] for line in lines]
    vocabulary = Vocabulary(["<pad>", "<unk>", *reversed(words)])
    table, absent = glove.read(path, vocabulary, 300, seed=0)
    values = np.array([line[1:] for line in lines], np.float32)
    np.testing.assert_array_equal(table[2:], values[::-1])
    assert absent == [] and len(words) > 20


def test_vectors_wider_than_the_model_are_refused(testdata):
    # Without this check, every word would start at random.
    vocabulary = Vocabulary(["<pad>", "<unk>", "dog"])
    with pytest.raises(ValueError, match="line 1"):
        glove.read(testdata / "vectors.300d.txt.gz", vocabulary, 100, seed=0)


def test_words_come_in_the_order_of_the_file(tmp_path):
    (tmp_path / "glove.txt").write_text("the 1 2\n. . . 3 4\ncat 5 6\n")
    assert list(glove.words(tmp_path / "glove.txt", 2)) == ["the", ". . .", "cat"]
    with pytest.raises(ValueError, match="line 1 has 2 values, not 3"):
        next(glove.words(tmp_path / "glove.txt", 3))
    with pytest.raises(FileNotFoundError):
        next(glove.words(tmp_path / "absent.txt", 2))


def test_unknown_words_start_as_the_mean_of_all(tmp_path):
    (tmp_path / "glove.txt").write_text("cat 1 2\ndog 5 10\nox 100 100\n")
    for tokenizer, row in (("paper", 1), ("released", 3)):
        special = TOKENIZERS[tokenizer].special
        vocabulary = Vocabulary([*special, "cat", "dog", "zebra"], tokenizer)
        table, absent = glove.read(tmp_path / "glove.txt", vocabulary, 2, seed=0)
        assert table[row].tolist() == [3.0, 6.0] and absent == ["zebra"]
        assert table[-1].any() and not table[0].any()


def test_a_header_of_word2vec_and_blanks_at_line_ends_are_skipped(tmp_path):
    path, vocabulary = tmp_path / "vectors.txt", Vocabulary(["<pad>", "<unk>", "cat"])
    path.write_text("2 3\ncat 1 2 3 \nof mice 4 5 6\t\r\n\n")
    table, absent = glove.read(path, vocabulary, 3, seed=0)
    assert table[2].tolist() == [1.0, 2.0, 3.0] and absent == []
    assert list(glove.words(path, 3)) == ["cat", "of mice"]
    with pytest.raises(ValueError, match="line 2 has 3 values, not 4"):
        glove.read(path, vocabulary, 4, seed=0)
    path.write_text("cat 1 2 3\n2 3\n")  # No header: it is not the first line.
    with pytest.raises(ValueError, match="line 2 has 1 values, not 3"):
        glove.read(path, vocabulary, 3, seed=0)
