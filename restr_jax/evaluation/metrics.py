"""Segmentation metrics in plain NumPy, over per-expression records.

A record is a dict with at least `image_id`, `length` (words), `kind`, `intersection`
and `union` (pixels at the image's own size). If the masks were also compared at the
network's input size, it has `stretched_intersection` and `stretched_union`.

For an expression that fits nothing, `no_target` is true and the union is the
prediction. If a split has such expressions, every record has `pixels`, the number of
predicted pixels at the image's own size.
"""

import numpy as np

PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
_BOOTSTRAP_SAMPLES = 1000
# Masks of fewer pixels are no answer by the rule of the paper on gRefCOCO.
FEWEST = 50


def overlap(prediction: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Counts the pixels of the intersection and the union of two boolean masks."""
    return (
        int(np.count_nonzero(prediction & truth)),
        int(np.count_nonzero(prediction | truth)),
    )


def ious(records: list[dict], prefix: str = "") -> np.ndarray:
    """Returns the IoU of each record; 0 if both masks are empty."""
    intersection, union = _columns(records, prefix)
    return intersection / np.maximum(union, 1)


def cumulative_iou(records: list[dict], prefix: str = "") -> float:
    """Returns oIoU: total intersection over total union (the paper's IoU)."""
    intersection, union = _columns(records, prefix)
    return float(intersection.sum() / max(union.sum(), 1))


def summarize(
    records: list[dict], buckets: list[tuple[int, int]], *, strictly: bool = False
) -> dict:
    """Computes every score of a split, as fractions.

    Args:
        records: one per expression, at least one.
        buckets: (least, most) words of each row of `by_length`. Longer expressions
            count in the last bucket, because they are truncated to that length.
        strictly: whether precision counts IoU > X only, instead of IoU >= X.

    Returns:
        num_images, num_expressions, oiou, miou, precision, ci95 (of oiou), by_length,
        stretched (oiou, miou and precision at the input size) if compared there, and
        by_kind if the data set has kinds. All of these cover only expressions that mean
        an object. If others fit nothing, the result of `generalized` is added.

    Raises:
        ValueError: if no expression means an object.
    """
    everything = records
    records = [r for r in records if not r.get("no_target")]
    if not records:
        raise ValueError(
            "No expression to score: the split is empty or has only expressions "
            "that fit nothing. Choose a split with expressions that mean an object."
        )
    summary = {
        "num_images": len({r["image_id"] for r in records}),
        "num_expressions": len(records),
        **_scores(records, "", strictly),
        "ci95": list(bootstrap_interval(records)),
    }
    if "stretched_union" in records[0]:
        summary["stretched"] = _scores(records, "stretched_", strictly)
    longest = max((most for _, most in buckets), default=0)
    lengths = np.minimum([r["length"] for r in records], longest)
    summary["by_length"] = []
    for least, most in buckets:
        chosen = np.flatnonzero((least <= lengths) & (lengths <= most))
        if len(chosen):
            inside = [records[i] for i in chosen]
            bucket = {"min": least, "max": most, "count": len(inside)}
            bucket["oiou"] = cumulative_iou(inside)
            bucket["ci95"] = list(bootstrap_interval(inside))
            summary["by_length"].append(bucket)
    kinds = sorted({r["kind"] for r in records} - {""})
    if kinds:
        groups = {k: [r for r in records if r["kind"] == k] for k in kinds}
        summary["by_kind"] = {
            kind: {"count": len(group), "oiou": cumulative_iou(group)}
            for kind, group in groups.items()
        }
    if len(records) < len(everything):
        summary |= generalized(everything)
    return summary


def generalized(records: list[dict]) -> dict:
    """Computes the scores of gRefCOCO, over all expressions.

    Returns:
        num_no_target, the number of expressions that fit nothing; n_acc, the share of
        them with an empty prediction; t_acc, the share of the others with a non-empty
        prediction; giou, the mean IoU, where an empty truth scores 1 for an empty
        prediction and else 0; ciou, total intersection over total union; and
        under_50, the last four if predictions of fewer than `FEWEST` pixels are
        emptied first.
    """
    number = sum(r["no_target"] for r in records)
    emptied = _generalized(records, FEWEST)
    return {"num_no_target": number} | _generalized(records, 1) | {"under_50": emptied}


def _generalized(records: list[dict], fewest: int) -> dict:
    """Computes the scores if predictions of fewer pixels are emptied first."""
    intersection, union = _columns(records, "")
    pixels = np.array([r["pixels"] for r in records], np.float64)
    nothing = np.array([r["no_target"] for r in records])
    empty = pixels < fewest
    truth = union - (pixels - intersection)
    intersection = np.where(empty, 0.0, intersection)
    union = np.where(empty, truth, union)
    each = np.where(nothing, empty, intersection / np.maximum(union, 1))
    return {
        "n_acc": float(empty[nothing].mean()),
        "t_acc": float(1.0 - empty[~nothing].mean()),
        "giou": float(each.mean()),
        "ciou": float(intersection.sum() / max(union.sum(), 1)),
    }


def bootstrap_interval(records: list[dict], seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % bootstrap interval of oIoU over images.

    Images, not expressions, are resampled with replacement, since the expressions of
    one image share its difficulty.
    """
    images, index = np.unique([r["image_id"] for r in records], return_inverse=True)
    sums = [np.bincount(index, c, len(images)) for c in _columns(records, "")]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(images), size=(_BOOTSTRAP_SAMPLES, len(images)))
    intersection, union = (column[drawn].sum(axis=1) for column in sums)
    low, high = np.percentile(intersection / np.maximum(union, 1), [2.5, 97.5])
    return float(low), float(high)


def _scores(records: list[dict], prefix: str, strictly: bool) -> dict:
    each = ious(records, prefix)
    reached = np.greater if strictly else np.greater_equal
    return {
        "oiou": cumulative_iou(records, prefix),
        "miou": float(each.mean()),
        "precision": {str(x): float(reached(each, x).mean()) for x in PRECISION_AT},
    }


def _columns(records: list[dict], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([r[f"{prefix}intersection"] for r in records], np.float64),
        np.array([r[f"{prefix}union"] for r in records], np.float64),
    )
