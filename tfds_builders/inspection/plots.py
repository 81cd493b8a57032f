"""The plots of a data card."""

import pathlib

import matplotlib
import numpy as np

matplotlib.use("agg")  # Draws into files without a display.
from matplotlib import pyplot as plt  # noqa: E402


def draw_card(card: dict, folder: pathlib.Path) -> None:
    """Draws lengths.png, objects.png and areas.png of a card."""
    splits = card["splits"]
    _draw_shares(
        folder / "lengths.png",
        {split: s["words"]["histogram"] for split, s in splits.items()},
        "words of an expression",
        "share of expressions",
    )
    _draw_shares(
        folder / "objects.png",
        {split: s["objects_per_image"] for split, s in splits.items()},
        "referred objects of an image",
        "share of images",
    )
    figure, axes = plt.subplots(figsize=(7, 4))
    for split, s in splits.items():
        counts = np.array(s["mask_area"], float)
        axes.plot(counts / counts.sum(), "o-", label=split)
    edges = s["mask_area_edges"]
    axes.set_xticks(range(len(edges) - 1))
    axes.set_xticklabels([f"{100 * e:.2g}" for e in edges[1:]])
    axes.set_xlabel("mask area (percent of the image, upper edge)")
    axes.set_ylabel("share of objects")
    _finish(figure, axes, folder / "areas.png")


def _draw_shares(
    path: pathlib.Path, histograms: dict[str, dict[str, int]], what: str, share: str
) -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for split, histogram in histograms.items():
        counts = np.array(list(histogram.values()), float)
        axes.plot(list(map(int, histogram)), counts / counts.sum(), "o-", label=split)
    axes.set_xlabel(what)
    axes.set_ylabel(share)
    _finish(figure, axes, path)


def _finish(figure, axes, path: pathlib.Path) -> None:
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
