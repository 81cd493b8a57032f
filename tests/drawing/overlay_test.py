import numpy as np

from restr_jax.drawing import overlay


def test_a_mask_is_tinted_and_the_rest_darkened():
    image = np.full((2, 2, 3), 100, np.uint8)
    mask = np.array([[True, False], [False, False]])
    drawn = overlay.draw(image, [mask])
    # Half image, half first colour; elsewhere 45 %.
    assert drawn[0, 0].tolist() == [156, 97, 50]
    assert drawn[1, 1].tolist() == [45, 45, 45]
    assert image.min() == 100


def test_colours_of_overlapping_masks_mix():
    image = np.zeros((1, 3, 3), np.uint8)
    first, second = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
    drawn = overlay.draw(image, [first, second])
    one, two = (np.array(overlay.color_of(i)) for i in range(2))
    np.testing.assert_allclose(drawn[0, 0], one // 2, atol=1)
    np.testing.assert_allclose(drawn[0, 1], one / 4 + two / 2, atol=1)
    np.testing.assert_allclose(drawn[0, 2], two // 2, atol=1)
    assert len({overlay.color_of(i) for i in range(7)}) == 7


def test_without_a_mask_the_image_is_dark():
    image = np.full((1, 1, 3), 90, np.uint8)
    assert overlay.draw(image, [])[0, 0].tolist() == [45, 45, 45]
    assert overlay.draw(image, [np.zeros((1, 1), bool)])[0, 0].tolist() == [45] * 3
