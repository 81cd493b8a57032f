"""Folds the pixel statistics of pretrained weights into the patch embedding."""

from typing import NamedTuple

import numpy as np

_KERNEL, _BIAS = "vision/patch_embedding/kernel", "vision/patch_embedding/bias"


class Statistics(NamedTuple):
    """Mean and standard deviation of pixels in [0, 1], by channel (RGB)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# "half" scales pixels to [-1, 1], as in this project and Google's ViTs.
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
    """Converts weights that expect other statistics to pixels in [-1, 1].

    A pixel x in [-1, 1] is (x + 1) / 2 in [0, 1]. The weights expect
    ((x + 1) / 2 - mean) / std. This affine map per channel merges exactly into the
    linear map of patches, also for the grey border of a letterboxed image, x = 0.

    Args:
        arrays: float32 arrays by path, including the patch embedding: a kernel with
            rows in the order (row, column, channel), and its bias.
        expected: statistics that the weights were trained with.

    Returns:
        The arrays with a new patch embedding.
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
