"""Randomly varies brightness, contrast and colour of training images."""

import numpy as np
from PIL import Image, ImageEnhance

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def draw_factors(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Draws one factor each for brightness, contrast and colour.

    Args:
        rng: random generator.
        strength: from 0 to below 1; factors lie from 1 - strength to 1 + strength.

    Returns:
        float64 [3].
    """
    return rng.uniform(1.0 - strength, 1.0 + strength, len(_ENHANCERS))


def vary(pixels: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scales brightness, then contrast, then colour (saturation) of an image.

    Contrast is a pixel's distance from the image's mean grey, and colour its distance
    from its own grey. Values outside 0 to 255 are clipped.

    Args:
        pixels: uint8 RGB [H, W, 3].
        factors: from `draw_factors`; 1 changes nothing.

    Returns:
        uint8 RGB [H, W, 3].
    """
    image = Image.fromarray(pixels)
    for enhancer, factor in zip(_ENHANCERS, factors, strict=True):
        image = enhancer(image).enhance(float(factor))
    return np.asarray(image)
