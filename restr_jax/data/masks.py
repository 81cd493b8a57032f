"""Conversion of logits to probabilities and masks, and of masks to COCO's RLE."""

import numpy as np

from tfds_builders.rle import encode_mask


def probability(logits: np.ndarray) -> np.ndarray:
    """Returns the logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def to_mask(logits: np.ndarray, threshold: float) -> np.ndarray:
    """Returns a boolean mask of the logits whose probability reaches the threshold."""
    return logits >= np.log(threshold) - np.log1p(-threshold)


def to_rle(mask: np.ndarray) -> dict:
    """Encodes a boolean mask [H, W] as COCO's compressed RLE, ready for JSON."""
    return {"size": list(mask.shape), "counts": encode_mask(mask)}
