import numpy as np
import pytest

from restr_jax.drawing import overlay

SQUARE = np.zeros((60, 80), bool)
SQUARE[20:40, 20:60] = True
COLOR = (213, 94, 0)


@pytest.mark.parametrize("grey", [0, 60, 127, 200, 255])
def test_the_line_is_clear_on_any_image(grey):
    image = np.full((60, 80, 3), grey, np.uint8)
    drawn = overlay.draw(image, [SQUARE], width=2.0)
    # Across the upper edge, from outside: the image, dark, white, the colour, the fill.
    column = drawn[:, 40].astype(int)
    np.testing.assert_array_equal(column[14], grey)
    dark, white = (
        column[17:20].sum(-1).argmin() + 17,
        column[18:23].sum(-1).argmax() + 18,
    )
    assert dark < white
    assert column[dark].max() < 30 and column[white].min() > 225
    assert (column[white : white + 5] == COLOR).all(-1).any()
    fill = 0.4 * np.array(COLOR) + 0.6 * grey
    np.testing.assert_allclose(column[30], fill, atol=2)
    assert (image == grey).all()  # The image itself is unchanged.


def test_without_fill_only_the_line_is_drawn():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    drawn = overlay.draw(image, [SQUARE], fill=0.0, width=1.0)
    changed = (drawn != image).any(-1)
    assert not changed[24:36, 24:56].any()
    assert not changed[:17].any() and not changed[43:].any()
    assert changed[20, 22:58].all()


def test_masks_have_their_own_colours_and_the_border_has_no_line():
    image = np.full((60, 80, 3), 127, np.uint8)
    left, right = np.zeros((2, 60, 80), bool)
    left[:, :30], right[:, 50:] = True, True
    drawn = overlay.draw(image, [left, right], colors=[(250, 0, 0), (0, 0, 250)])
    for column, color in ((5, (250, 0, 0)), (75, (0, 0, 250))):
        expected = 0.4 * np.array(color) + 0.6 * 127
        np.testing.assert_allclose(drawn[:, column], np.tile(expected, (60, 1)), atol=2)


@pytest.mark.parametrize("masks", [[], [np.zeros((60, 80), bool)]])
def test_without_masks_the_image_is_unchanged(masks):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    drawn = overlay.draw(image, masks)
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image


def test_a_mask_of_one_pixel_is_seen():
    image, mask = np.full((60, 80, 3), 255, np.uint8), np.zeros((60, 80), bool)
    mask[30, 40] = True
    drawn = overlay.draw(image, [mask], width=1.0)
    assert (drawn[28:33, 38:43] != 255).any()
