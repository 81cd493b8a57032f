"""How the class seed attends to patches and words, from what the model sowed."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from restr_jax.models import ReSTR
from restr_jax.models.attention import attended_first, reorder
from restr_jax.models.language import PAD_ID


def by_layer(
    model: ReSTR, captured: Any, tokens: Int[Array, "B K L"]
) -> Float[Array, "B K layers T"]:
    """Returns the seed's attention in every layer it passes, averaged over heads.

    Args:
        model: of any fusion kind.
        captured: what `model.apply` returned of the collection "intermediates".
        tokens: ids of the words.

    Returns:
        Attention to T tokens: all patches (VME only), all L words in the order of
        ``tokens``, the seed.
    """
    kind = "visual_linguistic" if model.fusion.kind == "vme" else "linguistic_seed"
    blocks = captured["intermediates"]["fusion"][kind]
    # Shared weights are one block whose attention was kept once per application.
    names = sorted(blocks, key=lambda name: int(name.partition("_")[2] or 0))
    layers = [w for name in names for w in blocks[name]["attention"]["weights"]]
    # As the fusion lays tokens: patches, the seed, words, of which padding is last.
    at = layers[0].shape[-1] - tokens.shape[-1] - 1
    attention = jnp.stack([w[..., at, :].mean(-2) for w in layers], axis=-2)
    seed, words = attention[..., at : at + 1], attention[..., at + 1 :]
    if model.fusion.mask_padding:
        back = attended_first(tokens != PAD_ID).swapaxes(-1, -2)
        words = reorder(back, words.swapaxes(-1, -2)).swapaxes(-1, -2)
    # ONNX knows no empty arrays: patches are there in VME only.
    patches = [attention[..., :at]] if at else []
    return jnp.concatenate([*patches, words, seed], axis=-1)


def of_words(
    model: ReSTR, captured: Any, tokens: Int[Array, "B K L"]
) -> Float[Array, "B K L"]:
    """Returns how the seed's attention divides over words, in the mean of its layers.

    Args:
        model: of any fusion kind.
        captured: as of `by_layer`.
        tokens: ids of the words.

    Returns:
        Shares of each word, 0 for padding; their sum is 1.
    """
    layers = by_layer(model, captured, tokens)
    words = layers[..., -1 - tokens.shape[-1] : -1].mean(-2)
    words = jnp.where(tokens == PAD_ID, 0.0, words)
    return words / words.sum(-1, keepdims=True)
