"""Figures of predictions and plots of scores."""

import pathlib
from collections.abc import Callable

import matplotlib
import numpy as np

from restr_jax.drawing import gallery, overlay

matplotlib.use("agg")  # Writes files only; there may be no display.
from matplotlib import pyplot as plt  # noqa: E402

_TEXT_KEYS = "text.color", "axes.labelcolor", "xtick.color", "ytick.color"
_GROUND_KEYS = "figure.facecolor", "axes.facecolor", "savefig.facecolor"
_EDGE_KEYS = "axes.edgecolor", "grid.color", "legend.edgecolor"
_PLOT = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.prop_cycle": matplotlib.cycler(
        # Blue and vermillion first: both are clear on white and on black.
        color=[
            matplotlib.colors.to_hex(np.array(overlay.COLORS[i]) / 255)
            for i in (5, 0, 2, 6, 3, 1, 4)
        ]
    ),
}


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


def plot_by_step(path: pathlib.Path, rows: list[dict]) -> None:
    """Plots oIoU against the checkpoint's step, one line per split.

    Args:
        path: image file to write; `gallery.dark` names the variant for dark pages.
        rows: rows of results.json.
    """

    def draw(axis):
        for label in dict.fromkeys(map(_label, rows)):
            points = sorted((r["step"], r["oiou"]) for r in rows if _label(r) == label)
            axis.plot(*zip(*points, strict=True), marker="o", label=label)
        axis.set(xlabel="step", ylabel="oIoU", ylim=(0, 1))

    _plot(path, draw)


def plot_by_length(path: pathlib.Path, row: dict) -> None:
    """Plots oIoU against expression length, with intervals and the paper's values.

    Args:
        path: image file to write; `gallery.dark` names the variant for dark pages.
        row: a row of results.json.
    """
    buckets = row["by_length"]
    names = [f"{b['min']}-{b['max']}\nn={b['count']}" for b in buckets]
    scores = np.array([b["oiou"] for b in buckets])
    low, high = np.array([b["ci95"] for b in buckets]).T
    # With few images, the interval may exclude the score itself.
    errors = np.maximum([scores - low, high - scores], 0.0)
    known = [(n, b["paper"]) for n, b in zip(names, buckets, strict=True) if b["paper"]]

    def draw(axis):
        line = {"ecolor": plt.rcParams["text.color"], "capsize": 4}
        axis.bar(names, scores, yerr=errors, label="this checkpoint", width=0.6, **line)
        if known:
            axis.plot(*zip(*known, strict=True), "D", color="C1", label="the paper")
        axis.set(xlabel="words", ylabel="oIoU", ylim=(0, 1), title=_label(row))

    _plot(path, draw)


def _label(row: dict) -> str:
    run = pathlib.Path(row["checkpoint"]).parent.parent.name
    return f"{run}, {row['dataset']}:{row['split']}, threshold {row['threshold']}"


def _plot(path: pathlib.Path, draw: Callable) -> None:
    """Draws a plot twice, for light and for dark pages."""
    dark = path.with_name(gallery.dark(path.name))
    for file, colors in ((path, gallery.LIGHT), (dark, gallery.DARK)):
        text = dict.fromkeys(_TEXT_KEYS, colors["text"])
        ground = dict.fromkeys(_GROUND_KEYS, colors["page"])
        edges = dict.fromkeys(_EDGE_KEYS, colors["line"])
        with plt.rc_context(text | ground | edges | _PLOT):
            figure, axis = plt.subplots(figsize=(5.4, 3.6))
            draw(axis)
            axis.legend(fontsize=8, loc="best")
            _save(figure, file, dpi=130)


def _save(figure, path: str | pathlib.Path, dpi: int) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
