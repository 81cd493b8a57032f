import json

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
def test_texts_become_lowercase_words_and_punctuation(sentence, tokens):
    assert text.tokenize(sentence) == tokens


@pytest.mark.parametrize("sentence", ["", "   ", "."])
def test_an_empty_expression_is_refused(sentence):
    with pytest.raises(ValueError, match="is empty; describe the object"):
        text.tokenize(sentence)


def test_a_vocabulary_is_ordered_by_frequency_then_alphabet(tmp_path):
    vocabulary = Vocabulary.from_sentences(["red cat", "red dog", "a dog"])
    assert vocabulary.words == ("<pad>", "<unk>", "dog", "red", "a", "cat")
    (tmp_path / "vocabulary.txt").write_text(vocabulary.to_text(), encoding="utf-8")
    assert Vocabulary.load(tmp_path / "vocabulary.txt").words == vocabulary.words


def test_rare_words_are_skipped_and_read_as_unknown():
    sentences = ["red cat", "red dog", "a dog"]
    vocabulary = Vocabulary.from_sentences(sentences, min_count=2)
    assert vocabulary.words == ("<pad>", "<unk>", "dog", "red")
    assert vocabulary.encode("red cat", 3).tolist() == [3, 1, 0]
    everything = Vocabulary.from_sentences(sentences)
    for count in (0, 1):
        counted = Vocabulary.from_sentences(sentences, min_count=count)
        assert counted.words == everything.words


def test_additional_words_come_last_and_change_no_id():
    vocabulary = Vocabulary.from_sentences(["red cat", "red dog"], "paper", "left")
    # As in GloVe files: capitals, inner punctuation, spaces, duplicates.
    further = [".", "The", "red", "don't", "...", "zebra", "at name@x", "zebra", "ox"]
    longer = vocabulary.extended(further, 3)
    assert longer.words == (*vocabulary.words, ".", "zebra")
    longer = vocabulary.extended(further, 100)
    assert longer.words == (*vocabulary.words, ".", "zebra", "ox")
    assert longer.unknown("Red zebra . ox") == []
    assert longer.encode("a red zebra", 4).tolist() == [0, 1, 2, 6]
    assert vocabulary.extended(further, 0).words == vocabulary.words


def test_every_additional_word_is_read_as_itself():
    marks = [".", ",", "--", "...", "<unk>", "<go>", "x1", "a_b", "ÅB", "å", "\u2028"]
    for tokenizer in text.TOKENIZERS:
        empty = Vocabulary(text.TOKENIZERS[tokenizer].special, tokenizer)
        longer = empty.extended(marks, 100)
        assert {",", "x1", "a_b", "å"} <= set(longer.words)
        for word in longer.words[len(longer.special) :]:
            ids = longer.encode(f"{word}x" if word in "..." else word, 1)
            assert ids[0] == longer.ids[word], (tokenizer, word)


def test_ids_are_padded_on_the_right_truncated_or_unknown():
    vocabulary = Vocabulary(["<pad>", "<unk>", "red", "cat"])
    assert vocabulary.encode("Red cat", 4).tolist() == [2, 3, 0, 0]
    assert vocabulary.encode("red zebra cat", 2).tolist() == [2, 1]
    assert vocabulary.unknown("red zebra") == ["zebra"]
    assert vocabulary.encode_known("red zebra", 3).tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=r"none of the words \['zebra', 'ox'\]"):
        vocabulary.encode_known("zebra ox", 3)


@pytest.mark.parametrize(
    ("words", "tokenizer", "message"),
    [
        (["red", "cat"], "paper", "starts with <pad>, <unk>, not with red, cat"),
        (["<pad>", "<unk>", "red", "red"], "paper", r"repeats \['red'\]"),
        (["<pad>", "<go>", "<eos>", "<unk>", "red"], "paper", "'paper' starts with"),
        (
            ["<pad>", "<unk>", "red"],
            "released",
            "starts with <pad>, <go>, <eos>, <unk>",
        ),
    ],
)
def test_a_file_without_a_vocabulary_is_refused(words, tokenizer, message, tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(words))
    with pytest.raises(ValueError, match=f"words.txt: .*{message}"):
        Vocabulary.load(tmp_path / "words.txt", tokenizer)


def test_an_unknown_tokenizer_or_side_is_refused():
    with pytest.raises(ValueError, match="config.data.tokenizer 'words'"):
        Vocabulary(["<pad>", "<unk>"], "words")
    with pytest.raises(ValueError, match="config.data.tokenizer 'words'"):
        Vocabulary.from_sentences(["red cat"], "words")
    with pytest.raises(ValueError, match="config.data.padding 'both'"):
        Vocabulary(["<pad>", "<unk>"], "paper", "both")


@pytest.fixture(scope="module")
def released(testdata):
    return json.loads((testdata / "golden" / "released_tokens.json").read_text())


@pytest.fixture
def published_form(released, tmp_path):
    """Returns a vocabulary file of the published length with the known entries."""
    lines = [""] * released["vocabulary_lines"]
    for word, i in (released["special_ids"] | released["vocabulary_subset"]).items():
        lines[i] = word
    lines[511] = "."  # A word's last entry counts, here 6108.
    (tmp_path / "published.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "published.txt"


def test_the_released_tokenizer_gives_the_released_ids(released, published_form):
    vocabulary = Vocabulary.load(published_form, "released", "left")
    assert len(vocabulary) == 12_112 and vocabulary.ids["."] == 6108
    assert len(released["cases"]) == 70
    for case in released["cases"]:
        if "error" in case:
            # The released program raises a bare IndexError here.
            with pytest.raises(ValueError, match="is empty; describe the object"):
                vocabulary.encode(case["text"], 20)
            continue
        assert vocabulary.tokenize(case["text"]) == case["tokens"], case["text"]
        assert vocabulary.encode(case["text"], 20).tolist() == case["ids"], case["text"]
        whole = vocabulary.encode(case["text"], max(len(case["tokens"]), 1))
        untruncated = case["untruncated_ids"] or [0]
        assert whole.tolist() == untruncated, case["text"]
        unknown = [t for t in case["tokens"] if t not in released["vocabulary_subset"]]
        assert vocabulary.unknown(case["text"]) == unknown, case["text"]


def test_padding_has_its_own_side():
    words = ["<pad>", "<unk>", "red", "cat"]
    left = Vocabulary(words, "paper", "left")
    assert left.encode("red cat", 4).tolist() == [0, 0, 2, 3]
    assert left.encode("red zebra cat", 2).tolist() == [2, 1]
    right = Vocabulary(["<pad>", "<go>", "<eos>", "<unk>", "red"], "released", "right")
    assert right.encode("red cat", 4).tolist() == [4, 3, 0, 0]
    with pytest.raises(ValueError, match="none of the words"):
        right.encode_known("blue cat", 4)


def test_released_words_are_collected_without_the_spaces_around_them(tmp_path):
    sentences = ["red cat, left,right", "the (red) .", "a\n- b"]
    vocabulary = Vocabulary.from_sentences(sentences, "released")
    assert vocabulary.words[:4] == ("<pad>", "<go>", "<eos>", "<unk>")
    assert set(vocabulary.words[4:]) == set(
        "red cat left right the a b , ( ) . -".split()
    )
    # The "," in "left,right" is known as a word, ", " is not.
    assert vocabulary.unknown("red cat, left,right") == [", "]
    (tmp_path / "words.txt").write_text(vocabulary.to_text(), encoding="utf-8")
    again = Vocabulary.load(tmp_path / "words.txt", "released")
    assert again.words == vocabulary.words


def test_a_published_file_survives_being_stored(published_form, tmp_path):
    vocabulary = Vocabulary.load(published_form, "released", "left")
    (tmp_path / "vocabulary.txt").write_text(vocabulary.to_text(), encoding="utf-8")
    again = Vocabulary.load(tmp_path / "vocabulary.txt", "released", "left")
    assert again.words == vocabulary.words and again.ids == vocabulary.ids
