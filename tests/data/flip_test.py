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
def test_left_and_right_change_places_and_nothing_else_does(sentence, mirrored):
    assert mirror_sentence(sentence) == mirrored
    # Twice is as before, but for capitals.
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


def test_a_known_limit_right_that_is_no_direction_is_exchanged_too():
    assert mirror_sentence("right next to the door") == "left next to the door"
