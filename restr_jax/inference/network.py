"""The network's two programs: images to features, and expressions to logits."""

from typing import Any

import numpy as np

from restr_jax.models import seed_attention


def encode(model, params: Any, image):
    """Encodes normalised images [B, H, W, 3] into patch features [B, N, D]."""
    return model.apply(
        {"params": params}, image, deterministic=True, method=model.encode_image
    )


def segment(model, params: Any, visual, tokens):
    """Segments tokens [B, K, L] in patch features [B, N, D].

    Returns:
        float32 logits of pixels [B, K, H, W] and patches [B, K, h, w], and the shares
        of the L word positions in the class seed's attention, [B, K, L].
    """

    def run(module, visual, tokens):
        words, word_mask = module.encode_text(tokens, deterministic=True)
        return module.segment(visual, words, word_mask, deterministic=True)

    output, captured = model.apply(
        {"params": params}, visual, tokens, method=run, mutable=["intermediates"]
    )
    attention = seed_attention.of_words(model, captured, tokens)
    return output.pixel_logits, output.patch_logits, attention


def only(output: tuple, count: int, pads_left: bool) -> tuple:
    """Extracts the single expression of the single image, without word padding."""
    pixels, patches, attention = (np.asarray(x[0, 0], np.float32) for x in output)
    attention = attention[-count:] if pads_left else attention[:count]
    return pixels, patches, attention
