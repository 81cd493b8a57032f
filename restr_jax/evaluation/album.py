"""Selects scored expressions and draws them for the figures page."""

import pathlib

import numpy as np
from PIL import Image

from restr_jax.data import preprocess
from restr_jax.data.splits import Split
from restr_jax.drawing import gallery, overlay

Position = tuple[int, int]  # index of the image in its split, of the expression

_SIDE = 640  # pixels, the longer side of a figure


def select(ious: dict[Position, float], number: int, seed: int) -> list[Position]:
    """Selects one expression of each of several images, from the worst to the best.

    One expression of each image is drawn at random. Ranked by IoU, the images form
    groups of equal size, and the middle image of each group is selected.

    Args:
        ious: IoU of each expression of a split.
        number: maximum number of images, and thus of groups.
        seed: seed of the random draw; it selects the same expressions for any IoU.
    """
    by_image: dict[int, list[Position]] = {}
    for position in sorted(ious):
        by_image.setdefault(position[0], []).append(position)
    rng = np.random.default_rng(seed)
    drawn = [some[rng.integers(len(some))] for some in by_image.values()]
    ranked = sorted(drawn, key=lambda position: (ious[position], position))
    number = min(number, len(ranked))
    return [ranked[(2 * i + 1) * len(ranked) // (2 * number)] for i in range(number)]


def draw(
    folder: pathlib.Path,
    name: str,
    split: Split,
    records: dict[Position, dict],
    number: int,
    seed: int,
) -> list[dict]:
    """Draws selected expressions with the outlines of both masks.

    Args:
        folder: output folder of the figures.
        name: prefix of their file names.
        split: the scored split.
        records: records of all expressions of the split, at one threshold.
        number: maximum number of figures.
        seed: seed of the selection.

    Returns:
        The cases of the figures, for `gallery.add_cases`.
    """
    cases = []
    ious = {position: record["iou"] for position, record in records.items()}
    images = len({image for image, _ in records})
    for image, k in select(ious, number, seed):
        record = records[image, k]
        file = f"{name}-{image:06d}-{k:02d}.jpg"
        fields = split.source[image]
        what = f"{split.name}, image {record['image_id']}"
        pixels = preprocess.decode_image(fields["image"], what)
        size = pixels.shape[:2]
        truth = np.zeros(size, bool)
        if not record["no_target"]:
            place = int(fields["expressions"]["object"][k])
            truth = preprocess.decode_mask(fields["objects"]["mask"][place], size)
        predicted = preprocess.decode_mask(record["mask"]["counts"], size)
        _draw_one(folder / file, pixels, truth, predicted)
        case = {key: record[key] for key in ("expression", "iou", "no_target")}
        case |= {"file": file, "found": bool(predicted.any()), "images": images}
        others = [p for p in sorted(records) if p[0] == image and p[1] != k]
        case["others"] = [
            {key: records[p][key] for key in ("expression", "iou")} for p in others
        ]
        cases.append(case)
    return cases


def _draw_one(
    path: pathlib.Path, pixels: np.ndarray, truth: np.ndarray, predicted: np.ndarray
) -> None:
    """Draws both outlines, at the size of the page, so that lines are equally wide."""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    # Scenes of a few pixels keep their sharp edges.
    smooth = Image.Resampling.LANCZOS if scale < 4 else Image.Resampling.NEAREST
    drawn = np.asarray(Image.fromarray(pixels).resize(size, smooth))
    # The wider outline of the truth is also seen where the prediction covers its edge.
    for mask, color, line in (
        (truth, gallery.TRUTH, 3.0),
        (predicted, gallery.PREDICTION, 2.0),
    ):
        large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        drawn = overlay.draw(drawn, [large], colors=[color], fill=0.0, width=line)
    Image.fromarray(drawn).save(path, quality=85, subsampling=0)
