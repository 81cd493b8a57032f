"""The training loss (Eqs. 11 and 12), in logits throughout."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from restr_jax.models.restr import Segmentation

_SMOOTHING = 0.005  # share of the pixels


def patch_labels(
    mask: Float[Array, "*b H W"], patch_size: int, threshold: float
) -> Float[Array, "*b h w"]:
    """Labels a patch 1 where its share of mask pixels exceeds the threshold (Eq. 11).

    Args:
        mask: 0 or 1 per pixel.
        patch_size: P.
        threshold: tau, a share of the patch.
    """
    *batch, height, width = mask.shape
    rows, columns = height // patch_size, width // patch_size
    # Eq. 11: the share of the object in each patch, against tau.
    cut = mask.reshape(*batch, rows, patch_size, columns, patch_size)
    return (cut.mean(axis=(-3, -1)) > threshold).astype(jnp.float32)


def dice_losses(
    logits: Float[Array, "*b H W"], mask: Float[Array, "*b H W"]
) -> Float[Array, "*b"]:
    """Returns 1 - (2 sum(p m) + s) / (sum(p) + sum(m) + s) of each mask.

    A small object counts as much as a large one. The smoothing s, 0.5 % of the pixels,
    defines the loss of an empty mask: 0 for an empty prediction, 1/2 or more for s or
    more predicted pixels. With a smaller s, the gradient would vanish where the model
    predicts the whole of a wrong object.

    Args:
        logits: the logits of the probabilities p.
        mask: m, 0 or 1.
    """
    probability = jax.nn.sigmoid(logits)
    # A share of the pixels, so that the loss does not depend on the resolution.
    smoothing = _SMOOTHING * mask.shape[-2] * mask.shape[-1]
    common = (probability * mask).sum(axis=(-2, -1))
    both = probability.sum(axis=(-2, -1)) + mask.sum(axis=(-2, -1))
    return 1.0 - (2.0 * common + smoothing) / (both + smoothing)


def segmentation_losses(
    output: Segmentation,
    mask: Float[Array, "B K H W"],
    valid: Bool[Array, "B K"],
    *,
    patch_size: int,
    patch_threshold: float,
    patch_weight: float,
    dice_weight: float = 0.0,
) -> dict[str, Float[Array, ""]]:
    """Computes the losses of Eq. 12, summed over the valid expressions.

    Adds a dice term (`dice_losses`), which is not in the paper, if its weight is not 0.

    Returns sums and a count instead of means, so that devices can add theirs exactly.

    Args:
        output: the model's output.
        mask: the objects, 0 or 1, at the input's size.
        valid: false for expressions that only pad the batch.
        patch_size: P.
        patch_threshold: tau of Eq. 11.
        patch_weight: lambda of Eq. 12.
        dice_weight: weight of the dice term; 0 skips it.

    Returns:
        Sums "loss", "pixel_loss", "patch_loss" and, with a dice term, "dice_loss"; and
        "count", the number of valid expressions.
    """
    # In logits: log(sigmoid(x)) of a very sure and wrong pixel would be -inf.
    cross_entropy = optax.sigmoid_binary_cross_entropy
    labels = patch_labels(mask, patch_size, patch_threshold)
    # Both terms of Eq. 12 are means over their own map, so lambda is independent of the
    # numbers of pixels and patches.
    pixel = cross_entropy(output.pixel_logits, mask).mean(axis=(-2, -1))
    patch = cross_entropy(output.patch_logits, labels).mean(axis=(-2, -1))
    # `where` and not a product: the loss of padding may be anything, even NaN.
    pixel, patch = (jnp.where(valid, loss, 0.0).sum() for loss in (pixel, patch))
    sums = {
        "loss": pixel + patch_weight * patch,  # Eq. 12
        "pixel_loss": pixel,
        "patch_loss": patch,
        "count": valid.sum().astype(jnp.float32),
    }
    if dice_weight:
        each = dice_losses(output.pixel_logits, mask)
        sums["dice_loss"] = jnp.where(valid, each, 0.0).sum()
        sums["loss"] += dice_weight * sums["dice_loss"]
    return sums
