"""Figures of predictions and plots of scores."""

import pathlib
import textwrap

import matplotlib
import numpy as np

from restr_jax.drawing import overlay

matplotlib.use("agg")  # Writes files only; there may be no display.
from matplotlib import pyplot as plt  # noqa: E402


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
        path: PNG file to write.
        image: uint8 RGB [H, W, 3].
        expression: the referring expression.
        patch_probability: [h, w] in [0, 1].
        mask: the predicted mask, boolean [H, W].
        truth: the ground-truth mask, boolean [H, W], if known.
        iou: IoU of the prediction, if known.
    """
    sharp = {"interpolation": "nearest"}
    panels = [
        ("image", image, sharp),
        ("patches", patch_probability, sharp | {"cmap": "magma", "vmin": 0, "vmax": 1}),
        (
            "mask" if iou is None else f"mask, IoU {iou:.2f}",
            overlay.draw(image, [mask]),
            sharp,
        ),
    ]
    if truth is not None:
        title = "ground truth" if truth.any() else "ground truth: nothing fits"
        panels.append((title, overlay.draw(image, [truth]), sharp))
    draw_row(path, expression, image.shape[:2], panels)


def draw_row(
    path: str | pathlib.Path,
    expression: str,
    size: tuple[int, int],
    panels: list[tuple[str, np.ndarray, dict]],
) -> None:
    """Draws pictures of one image side by side into a PNG.

    Args:
        path: PNG file to write.
        expression: the referring expression, the title.
        size: height and width of the image, pixels.
        panels: the title and the pixels of each picture, and options of `imshow`; a
            picture covers the image unless "extent" places it elsewhere.
    """
    height, width = size
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3 * len(panels), 3 * height / width + 0.7)
    )
    for axis, (title, picture, options) in zip(axes, panels, strict=True):
        axis.imshow(picture, **({"extent": (0, width, height, 0)} | options))
        axis.set_title(title, fontsize=10)
        axis.set(xlim=(0, width), ylim=(height, 0))
        axis.axis("off")
    figure.suptitle(f"“{expression}”", fontsize=12, parse_math=False)
    _save(figure, path, dpi=80)


def draw_expressions(
    path: str | pathlib.Path,
    *,
    image: np.ndarray,
    expressions: list[str],
    masks: list[np.ndarray],
) -> None:
    """Draws the masks of several expressions of one image side by side into a PNG.

    Args:
        path: PNG file to write.
        image: uint8 RGB [H, W, 3].
        expressions: the referring expressions.
        masks: the predicted masks, boolean [H, W] each.
    """
    columns = min(len(masks) + 1, 5)
    rows = -(-(len(masks) + 1) // columns)
    height, width = image.shape[:2]
    size = (3 * columns, rows * (3 * height / width + 0.6))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    panels = [("image", image)]
    panels += [
        (textwrap.fill(expression, 34), overlay.draw(image, [mask]))
        for expression, mask in zip(expressions, masks, strict=True)
    ]
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, picture) in zip(axes.flat, panels, strict=False):
        axis.imshow(picture)
        axis.set_title(title, fontsize=9, parse_math=False)
    _save(figure, path, dpi=80)


def plot_by_step(path: str | pathlib.Path, rows: list[dict]) -> None:
    """Plots oIoU against the checkpoint's step, one line per split.

    Args:
        path: image file to write.
        rows: rows of results.json.
    """
    figure, axis = plt.subplots(figsize=(6, 4))
    for label in dict.fromkeys(map(_label, rows)):
        points = sorted((r["step"], r["oiou"]) for r in rows if _label(r) == label)
        axis.plot(*zip(*points, strict=True), marker="o", label=label)
    axis.set(xlabel="step", ylabel="oIoU", ylim=(0, 1))
    axis.legend(fontsize=8)
    _save(figure, path, dpi=100)


def plot_by_length(path: str | pathlib.Path, row: dict) -> None:
    """Plots oIoU against expression length, with intervals and the paper's values.

    Args:
        path: image file to write.
        row: a row of results.json.
    """
    buckets = row["by_length"]
    names = [f"{b['min']}-{b['max']}\nn={b['count']}" for b in buckets]
    scores = np.array([b["oiou"] for b in buckets])
    low, high = np.array([b["ci95"] for b in buckets]).T
    # With few images, the interval may exclude the score itself.
    errors = np.maximum([scores - low, high - scores], 0.0)
    figure, axis = plt.subplots(figsize=(6, 4))
    axis.bar(names, scores, yerr=errors, capsize=4, label="this checkpoint")
    known = [(n, b["paper"]) for n, b in zip(names, buckets, strict=True) if b["paper"]]
    if known:
        axis.plot(*zip(*known, strict=True), "kD", label="the paper")
    axis.set(xlabel="words", ylabel="oIoU", ylim=(0, 1), title=_label(row))
    axis.legend(fontsize=8)
    _save(figure, path, dpi=100)


def _label(row: dict) -> str:
    run = pathlib.Path(row["checkpoint"]).parent.parent.name
    return f"{run}, {row['dataset']}:{row['split']}, threshold {row['threshold']}"


def _save(figure, path: str | pathlib.Path, dpi: int) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
