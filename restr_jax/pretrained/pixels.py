"""Pixel statistics that weights were trained with, folded into the patch embedding."""

from typing import NamedTuple

import numpy as np

_KERNEL, _BIAS = "vision/patch_embedding/kernel", "vision/patch_embedding/bias"


class Statistics(NamedTuple):
    """Mean and standard deviation of pixels in [0, 1], by channel (RGB)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# By name: "half" is what this project feeds, pixels in [-1, 1]; Google's ViTs have it.
STATISTICS = {
    "half": Statistics((0.5,) * 3, (0.5,) * 3),
    # DeiT, DINO and most of timm.
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": Statistics(
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
}


def parse(text: str) -> Statistics:
    """Reads a name, or numbers as in "0.5,0.5,0.5/0.25,0.25,0.25" (mean/std).

    Raises:
        ValueError: if it is neither.
    """
    if text in STATISTICS:
        return STATISTICS[text]
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
        found = np.array((mean, std))
        if (
            found.shape != (2, 3)
            or not np.isfinite(found).all()
            or (found[1] <= 0).any()
        ):
            raise ValueError
    except ValueError as error:
        raise ValueError(
            f"{text!r} is none of {', '.join(STATISTICS)}, nor mean and standard "
            "deviation of pixels in [0, 1], as in 0.5,0.5,0.5/0.25,0.25,0.25"
        ) from error
    return Statistics(mean, std)


def fold(arrays: dict[str, np.ndarray], expected: Statistics) -> dict[str, np.ndarray]:
    """Makes weights that expect other statistics take pixels in [-1, 1].

    A pixel x in [-1, 1] is (x + 1) / 2 in [0, 1], which the weights expect as
    ((x + 1) / 2 - mean) / std: a linear map by channel, exact in front of the linear
    map of patches. The grey beside a letterboxed image, x = 0, is no exception.

    Args:
        arrays: by path, float32, with the patch embedding: a kernel of rows in the
            order (row, column, channel), and its bias.
        expected: statistics that the weights were trained with.

    Returns:
        The arrays, with another patch embedding.
    """
    if expected == STATISTICS["half"]:
        return arrays
    mean, std = (np.array(x, np.float64) for x in expected)
    kernel = arrays[_KERNEL].astype(np.float64)
    by_channel = kernel.reshape(-1, 3, kernel.shape[-1])
    bias = np.einsum("pcd,c->d", by_channel, (0.5 - mean) / std)
    folded = by_channel * (0.5 / std)[:, None]
    return arrays | {
        _KERNEL: folded.reshape(kernel.shape).astype(np.float32),
        _BIAS: (arrays[_BIAS] + bias).astype(np.float32),
    }
