"""Pictures of predictions: what went in, what came out, what was right."""

import pathlib

import matplotlib
import numpy as np

matplotlib.use("agg")  # Draws into files; there may be no screen.
from matplotlib import pyplot as plt  # noqa: E402

_COLOR = np.array([255, 60, 60], np.float32)


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Tints the pixels of a mask red and darkens the others.

    Args:
        image: uint8 RGB [H, W, 3].
        mask: boolean [H, W].

    Returns:
        uint8 RGB [H, W, 3].
    """
    inside = 0.5 * image + 0.5 * _COLOR
    return np.where(mask[..., None], inside, 0.45 * image).astype(np.uint8)


def draw_prediction(
    path: str | pathlib.Path,
    *,
    image: np.ndarray,
    expression: str,
    patch_probability: np.ndarray,
    mask: np.ndarray,
    truth: np.ndarray | None,
    iou: float | None,
) -> None:
    """Draws input, patch map, mask and ground truth side by side into a PNG.

    Args:
        path: of the file to write.
        image: uint8 RGB [H, W, 3].
        expression: what was asked for.
        patch_probability: [h, w] in [0, 1].
        mask: the prediction, boolean [H, W].
        truth: the object, boolean [H, W], where it is known.
        iou: of the prediction, where it is known.
    """
    panels = [
        ("image", image, {}),
        ("patches", patch_probability, {"cmap": "magma", "vmin": 0, "vmax": 1}),
        ("mask" if iou is None else f"mask, IoU {iou:.2f}", overlay(image, mask), {}),
    ]
    if truth is not None:
        panels.append(("ground truth", overlay(image, truth), {}))
    height, width = image.shape[:2]
    extent = (0, width, height, 0)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3 * len(panels), 3 * height / width + 0.7)
    )
    for axis, (title, picture, options) in zip(axes, panels, strict=True):
        axis.imshow(picture, extent=extent, interpolation="nearest", **options)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    figure.suptitle(f"“{expression}”", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
