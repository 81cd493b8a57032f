from restr_jax.data import coverage
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary


def split_of(*sentences):
    return Split("mine:val", [], [list(sentences)], ["mine/a"])


def test_expressions_without_a_known_word_are_reported():
    vocabulary = Vocabulary.from_sentences(["the red cat, left"])
    said = split_of("red dog", "लाल चौकोर", "左边, 的", ".", "a red")
    assert list(coverage.of_words(said, vocabulary, 20)) == [
        "mine:val: 3 of 5 expressions have no word that the model knows, such as "
        "'लाल चौकोर'"
    ]
    assert list(coverage.of_words(split_of("red", "cat."), vocabulary, 20)) == []


def test_expressions_that_are_cut_off_are_reported():
    vocabulary = Vocabulary.from_sentences(["左边的红色方块"])
    said = split_of("左边的红色方块", "红色")
    assert list(coverage.of_words(said, vocabulary, 6)) == [
        "mine:val: 1 of 2 expressions have more than config.data.max_words=6 words, "
        "and the last are not read, such as '左边的红色方块'"
    ]
    assert list(coverage.of_words(said, vocabulary, 7)) == []


def test_mirroring_without_english_sides_is_reported():
    (line,) = coverage.of_flip(split_of("linkes Haus", "rechtes Haus"))
    assert "mine:val: config.data.flip mirrors images" in line
    assert list(coverage.of_flip(split_of("linkes Haus", "the Left one"))) == []


def test_a_split_that_is_named_twice_is_reported_once(caplog):
    vocabulary = Vocabulary.from_sentences(["red"])
    said = split_of("red", "blue")
    coverage.warn([said, said], vocabulary, 20)
    (line,) = coverage.of_words(said, vocabulary, 20)
    assert caplog.messages == [line]
