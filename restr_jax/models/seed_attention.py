"""The class seed's attention to patches and words, from the model's intermediates."""

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
        model: a model of any fusion kind.
        captured: the collection "intermediates", as returned by `model.apply`.
        tokens: ids of the words.

    Returns:
        Attention to T tokens: all patches (VME only), all L words in the order of
        ``tokens``, the seed.
    """
    kind = "visual_linguistic" if model.fusion.kind == "vme" else "linguistic_seed"
    blocks = captured["intermediates"]["fusion"][kind]
    # With shared weights, one block stores its attention once per application.
    names = sorted(blocks, key=lambda name: int(name.partition("_")[2] or 0))
    layers = [w for name in names for w in blocks[name]["attention"]["weights"]]
    # The token order of the fusion: patches, the seed, words, padding last.
    at = layers[0].shape[-1] - tokens.shape[-1] - 1
    attention = jnp.stack([w[..., at, :].mean(-2) for w in layers], axis=-2)
    seed, words = attention[..., at : at + 1], attention[..., at + 1 :]
    if model.fusion.mask_padding:
        back = attended_first(tokens != PAD_ID).swapaxes(-1, -2)
        words = reorder(back, words.swapaxes(-1, -2)).swapaxes(-1, -2)
    # ONNX has no empty arrays, and only VME has patches here.
    patches = [attention[..., :at]] if at else []
    return jnp.concatenate([*patches, words, seed], axis=-1)


def of_words(
    model: ReSTR, captured: Any, tokens: Int[Array, "B K L"]
) -> Float[Array, "B K L"]:
    """Returns the shares of words in the seed's attention, averaged over its layers.

    Args:
        model: a model of any fusion kind.
        captured: see `by_layer`.
        tokens: ids of the words.

    Returns:
        The share of each word, 0 for padding; the shares sum to 1.
    """
    layers = by_layer(model, captured, tokens)
    words = layers[..., -1 - tokens.shape[-1] : -1].mean(-2)
    words = jnp.where(tokens == PAD_ID, 0.0, words)
    return words / words.sum(-1, keepdims=True)
