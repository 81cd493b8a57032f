import jax.numpy as jnp
import numpy as np

from restr_jax.models import Segmentation
from restr_jax.training.losses import patch_labels, segmentation_losses


def test_a_patch_is_positive_only_above_the_threshold():
    mask = np.zeros((5, 15), np.float32)
    mask[:4, :5] = 1  # exactly 0.8 of the first patch
    mask[:, 5:10] = 1
    mask[0, 5] = 0  # 0.96 of the second
    mask[0, 10] = 1  # one pixel of the third
    assert patch_labels(jnp.asarray(mask), 5, 0.8).tolist() == [[0, 1, 0]]
    assert patch_labels(jnp.asarray(mask), 5, 0.0).tolist() == [[1, 1, 1]]


def losses(pixel, patch, mask, valid, weight=0.1):
    return segmentation_losses(
        Segmentation(jnp.asarray(pixel), jnp.asarray(patch)),
        jnp.asarray(mask, jnp.float32),
        jnp.asarray(valid),
        patch_size=2,
        patch_threshold=0.8,
        patch_weight=weight,
    )


def test_the_loss_matches_equation_12_by_hand():
    pixel = np.array([[[[2.0, -1.0], [0.5, 0.0]]]], np.float32)
    mask = np.array([[[[1, 0], [1, 1]]]])
    patch = np.array([[[[-0.7]]]], np.float32)
    sums = losses(pixel, patch, mask, [[True]])
    # BCE of a logit x is log(1 + e^-x) for label 1 and log(1 + e^x) for label 0.
    by_pixel = np.log1p(np.exp([-2.0, -1.0, -0.5, 0.0])).mean()
    by_patch = np.log1p(np.exp(-0.7))  # 3 of 4 pixels: the patch's label is 0
    np.testing.assert_allclose(sums["pixel_loss"], by_pixel, rtol=1e-6)
    np.testing.assert_allclose(sums["patch_loss"], by_patch, rtol=1e-6)
    np.testing.assert_allclose(sums["loss"], by_pixel + 0.1 * by_patch, rtol=1e-6)
    assert sums["count"] == 1


def test_padding_expressions_do_not_count():
    rng = np.random.default_rng(0)
    pixel = rng.normal(size=(1, 3, 4, 4)).astype(np.float32)
    patch = rng.normal(size=(1, 3, 2, 2)).astype(np.float32)
    mask = rng.integers(0, 2, (1, 3, 4, 4))
    one = losses(pixel[:, :1], patch[:, :1], mask[:, :1], [[True]])
    pixel[:, 1:] = 1e30
    three = losses(pixel, patch, mask, [[True, False, False]])
    assert {k: float(v) for k, v in one.items()} == {
        k: float(v) for k, v in three.items()
    }


def test_large_logits_give_a_finite_loss():
    pixel = np.full((1, 1, 2, 2), 1e4, np.float32)
    sums = losses(pixel, -pixel[..., :1, :1], np.zeros((1, 1, 2, 2)), [[True]])
    np.testing.assert_allclose(sums["pixel_loss"], 1e4)
    assert sums["patch_loss"] == 0


def with_dice(pixel, mask, valid, weight):
    pixel = jnp.asarray(pixel, jnp.float32)
    return segmentation_losses(
        Segmentation(pixel, pixel[..., :1, :1]),
        jnp.asarray(mask, jnp.float32),
        jnp.asarray(valid),
        patch_size=2,
        patch_threshold=0.8,
        patch_weight=0.1,
        dice_weight=weight,
    )


def test_the_dice_term_matches_a_computation_by_hand():
    # Probabilities 3/4, 1/4, 1/2 and 1/2.
    three = np.log(3.0)
    pixel = np.array([[[[three, -three], [0.0, 0.0]]]])
    mask = np.array([[[[1, 0], [1, 0]]]])
    sums = with_dice(pixel, mask, [[True]], 2.0)
    dice = 1 - (2 * (3 / 4 + 1 / 2) + 0.02) / (2 + 2 + 0.02)
    np.testing.assert_allclose(sums["dice_loss"], dice, rtol=1e-6)
    plain = with_dice(pixel, mask, [[True]], 0.0)
    assert "dice_loss" not in plain
    np.testing.assert_allclose(sums["loss"], plain["loss"] + 2 * dice, rtol=1e-6)


def test_dice_of_an_empty_mask_penalises_false_positives():
    nothing = np.zeros((1, 2, 2, 2))
    pixel = np.stack([np.full((2, 2), -40.0), np.zeros((2, 2))])[None]
    # Probability 0: 1 - 0.02 / 0.02. Two pixels' worth: 1 - 0.02 / 2.02.
    for valid, expected in (([[True, False]], 0.0), ([[False, True]], 2 / 2.02)):
        sums = with_dice(pixel, nothing, valid, 1.0)
        np.testing.assert_allclose(sums["dice_loss"], expected, atol=1e-6)
    both = with_dice(pixel, nothing, [[True, True]], 1.0)
    np.testing.assert_allclose(both["dice_loss"], 2 / 2.02, rtol=1e-6)
    assert both["count"] == 2
