import random
import re
import string

import pytest

from tfds_builders.inspection import words

OLD = re.compile(r"\w+|[^\w\s]")  # Vocabularies were collected with this pattern.


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("लाल चौकोर", ["लाल", "चौकोर"]),
        ("بَيت أحمر", ["بَيت", "أحمر"]),
        ("כֶּלֶב, קטן", ["כֶּלֶב", ",", "קטן"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("Cafe\u0301 cre\u0300me", ["caf\u00e9", "cr\u00e8me"]),
        ("x\u0305 bar", ["x\u0305", "bar"]),  # Unicode has no such letter.
        ("İstanbul", ["i\u0307stanbul"]),
        ("\u1112\u1161\u11ab 개", ["\ud55c", "개"]),
        ("左边的 red 2号。", ["左", "边", "的", "red", "2", "号", "."]),
        ("赤いカード", ["赤", "い", "カ", "ー", "ド"]),
        ("สีแดง", ["สี", "แ", "ด", "ง"]),
        ("❤\ufe0f left", ["❤\ufe0f", "left"]),
        ("\u0301 a", ["\u0301", "a"]),
    ],
)
def test_marks_stay_with_their_letters_and_unspaced_scripts_are_split(sentence, tokens):
    assert words.split(sentence) == tokens
    # Composing changes no second time, as the entries of a vocabulary need it.
    for token in tokens:
        assert words.split(token) == [token]


def test_english_and_other_composed_letters_are_split_as_ever():
    rng = random.Random(0)
    letters = string.printable + "éßñČşğøæœ£½²жяλ"
    for _ in range(3000):
        text = "".join(rng.choices(letters, k=12))
        assert words.split(text) == OLD.findall(text.lower())


@pytest.mark.parametrize(
    ("typed", "ascii_text"),
    [
        ("the man’s ‘red’ hat", "the man's 'red' hat"),
        ("“cat” – left — top…", '"cat" - left - top...'),
        ("ＤＯＧ，　ｎｏ．２！", "dog, no.2!"),
        ("\ufeffsoft\u00adball\u200bbat \u202aleft\u202c", "softball bat left"),
        ("t‑shirt 5′11″", "t-shirt 5'11\""),
    ],
)
def test_typographic_marks_are_read_as_the_ascii_of_the_data_sets(typed, ascii_text):
    assert words.split(typed) == words.split(ascii_text)
    # Word vectors have entries for these marks.
    assert words.split_as_written("“ ’ –") == ["“", "’", "–"]


def test_punctuation_is_no_word():
    assert words.of("The cat's, 2nd । — ❤ लाल") == ["the", "cat", "s", "2nd", "लाल"]


def test_expressions_without_a_word_of_training_are_counted():
    sentences = {
        "train": [["red square", "the blue one"], ["red cat"]],
        "val": [["red dog", "grüner Hund"], ["zwei Hunde", "the"]],
        "test": [["blue!"]],
    }
    assert list(words.untaught(sentences)) == [
        "val: 2 of 4 expressions have no word of train, such as 'grüner Hund'"
    ]
    assert list(words.untaught({"trainval": [["a"]], "train": [["b"]]})) == [
        "train: 1 of 1 expressions have no word of trainval, such as 'b'"
    ]
    assert list(words.untaught({"val": [["a"]]})) == []
