import pytest

from restr_jax.data.flip import mirror_sentence


@pytest.mark.parametrize(
    ("sentence", "mirrored"),
    [
        ("man on the left", "man on the right"),
        ("Right guy", "left guy"),
        ("LEFTMOST cup, not the rightmost!", "rightmost cup, not the leftmost!"),
        ("left-hand side", "right-hand side"),
        ("the lefthand one on rightside", "the righthand one on leftside"),
        ("top rt corner, lft tree", "top lft corner, rt tree"),
        ("bottomleft / topright", "bottomright / topleft"),
        ("left of the man on the right", "right of the man on the left"),
        ("the man on the left's hat", "the man on the right's hat"),
    ],
)
def test_only_left_and_right_are_exchanged(sentence, mirrored):
    assert mirror_sentence(sentence) == mirrored
    # Mirroring twice restores the text, except for capitals.
    assert mirror_sentence(mirrored) == sentence.lower()


@pytest.mark.parametrize(
    "sentence",
    [
        "bright upright copyright sign",
        "leftover pizza",
        "R2 and l",
        "l\u00e9ft_right",
        "...",
    ],
)
def test_words_that_only_contain_left_or_right_stay(sentence):
    assert mirror_sentence(sentence) == sentence


def test_a_known_limit_right_without_a_direction_is_exchanged_too():
    assert mirror_sentence("right next to the door") == "left next to the door"
