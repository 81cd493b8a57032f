import gzip

import numpy as np
import pytest

from restr_jax.data import text
from restr_jax.data.text import Vocabulary


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("The man on the LEFT.", ["the", "man", "on", "the", "left"]),
        ("woman's hat, red", ["woman", "'", "s", "hat", ",", "red"]),
        ("2nd   from right", ["2nd", "from", "right"]),
        ("Čašica .", ["čašica"]),
        ("wait...", ["wait", ".", "."]),
    ],
)
def test_sentences_become_lower_case_words_and_marks(sentence, tokens):
    assert text.tokenize(sentence) == tokens


@pytest.mark.parametrize("sentence", ["", "   ", "."])
def test_an_empty_sentence_is_refused(sentence):
    with pytest.raises(ValueError, match="is empty; say in words"):
        text.tokenize(sentence)


def test_a_vocabulary_is_ordered_by_frequency_then_alphabet(tmp_path):
    vocabulary = Vocabulary.from_sentences(["red cat", "red dog", "a dog"])
    assert vocabulary.words == ("<pad>", "<unk>", "dog", "red", "a", "cat")
    vocabulary.save(tmp_path / "vocabulary.txt")
    assert Vocabulary.load(tmp_path / "vocabulary.txt").words == vocabulary.words


def test_ids_are_padded_on_the_right_cut_and_unknown():
    vocabulary = Vocabulary(["<pad>", "<unk>", "red", "cat"])
    assert vocabulary.encode("Red cat", 4).tolist() == [2, 3, 0, 0]
    assert vocabulary.encode("red zebra cat", 2).tolist() == [2, 1]
    assert vocabulary.unknown("red zebra") == ["zebra"]
    assert vocabulary.encode_known("red zebra", 3).tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=r"none of the words \['zebra', 'ox'\]"):
        vocabulary.encode_known("zebra ox", 3)


@pytest.mark.parametrize("words", [["red", "cat"], ["<pad>", "<unk>", "red", "red"]])
def test_a_file_that_is_no_vocabulary_is_refused(words, tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(words))
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary.load(tmp_path / "words.txt")


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_real_glove_vectors_land_in_their_rows(testdata):
    words = ["dog", "cat", "couch", "bed", "qwertzuiop"]
    vocabulary = Vocabulary(["<pad>", "<unk>", *words])
    path = testdata / "glove_subset.300d.txt.gz"
    table, absent = text.read_glove(path, vocabulary, 300, seed=0)
    assert table.shape == (7, 300) and table.dtype == np.float32
    # Known values of glove.6B.300d.
    assert round(float(cosine(table[2], table[3])), 3) == 0.682
    assert round(float(cosine(table[4], table[5])), 3) == 0.483
    assert absent == ["qwertzuiop"]
    assert not table[0].any() and table[6].any()
    again, _ = text.read_glove(path, vocabulary, 300, seed=0)
    other, _ = text.read_glove(path, vocabulary, 300, seed=1)
    np.testing.assert_array_equal(table, again)
    assert (table[6] != other[6]).all() and (table[2] == other[2]).all()


def test_words_with_spaces_and_plain_text_files_are_read(tmp_path):
    (tmp_path / "glove.txt").write_text(". . . 1 2\ncat 3 4\n")
    vocabulary = Vocabulary(["<pad>", "<unk>", "cat"])
    table, absent = text.read_glove(tmp_path / "glove.txt", vocabulary, 2, seed=0)
    assert table[2].tolist() == [3.0, 4.0] and absent == []


def test_vectors_of_another_width_are_refused(tmp_path):
    with gzip.open(tmp_path / "glove.txt.gz", "wt") as file:
        file.write("cat 1 2 3\ndog 1 2\n")
    vocabulary = Vocabulary(["<pad>", "<unk>", "cat"])
    with pytest.raises(ValueError, match="line 2 has 2 values, not 3"):
        text.read_glove(tmp_path / "glove.txt.gz", vocabulary, 3, seed=0)
    with pytest.raises(FileNotFoundError):
        text.read_glove(tmp_path / "absent.txt", vocabulary, 3, seed=0)


def test_rows_of_the_table_are_lines_of_the_file(testdata):
    path = testdata / "glove_subset.300d.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    words = [line[0] for line in lines]
    vocabulary = Vocabulary(["<pad>", "<unk>", *reversed(words)])
    table, absent = text.read_glove(path, vocabulary, 300, seed=0)
    values = np.array([line[1:] for line in lines], np.float32)
    np.testing.assert_array_equal(table[2:], values[::-1])
    assert absent == [] and len(words) > 20


def test_vectors_wider_than_the_model_are_refused(testdata):
    # Unnoticed, every word would start at random.
    vocabulary = Vocabulary(["<pad>", "<unk>", "dog"])
    with pytest.raises(ValueError, match="line 1"):
        text.read_glove(testdata / "glove_subset.300d.txt.gz", vocabulary, 100, seed=0)
