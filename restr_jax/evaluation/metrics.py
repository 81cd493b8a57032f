"""Scores of masks: plain NumPy over per-expression records.

A record is a dict with at least `image_id`, `length` (words), `kind`, `intersection`
and `union` (pixels at the image's own size), `stretched_intersection` and
`stretched_union` (pixels at the network's input size).
"""

import numpy as np

PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
_BOOTSTRAP_SAMPLES = 1000


def overlap(prediction: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Counts the pixels of the intersection and the union of two boolean masks."""
    return (
        int(np.count_nonzero(prediction & truth)),
        int(np.count_nonzero(prediction | truth)),
    )


def ious(records: list[dict], prefix: str = "") -> np.ndarray:
    """Returns the IoU of each record; 0 where nothing is in either mask."""
    intersection, union = _columns(records, prefix)
    return intersection / np.maximum(union, 1)


def cumulative_iou(records: list[dict], prefix: str = "") -> float:
    """Returns oIoU: all intersections over all unions (the paper's IoU)."""
    intersection, union = _columns(records, prefix)
    return float(intersection.sum() / max(union.sum(), 1))


def summarize(records: list[dict], buckets: list[tuple[int, int]]) -> dict:
    """Computes every score of a split, as fractions.

    Args:
        records: one per expression, at least one.
        buckets: (least, most) words of each row of `by_length`.

    Returns:
        num_images, num_expressions, oiou, miou, precision, stretched, by_length, and
        by_kind where the data set has kinds.

    Raises:
        ValueError: if there is no record.
    """
    if not records:
        raise ValueError("There is no expression to score; the split is empty.")
    each = ious(records)
    summary = {
        "num_images": len({r["image_id"] for r in records}),
        "num_expressions": len(records),
        "oiou": cumulative_iou(records),
        "miou": float(each.mean()),
        "precision": {str(x): float((each >= x).mean()) for x in PRECISION_AT},
        "stretched": {
            "oiou": cumulative_iou(records, "stretched_"),
            "miou": float(ious(records, "stretched_").mean()),
        },
        "by_length": [
            _bucket(records, least, most)
            for least, most in buckets
            if any(least <= r["length"] <= most for r in records)
        ],
    }
    kinds = sorted({r["kind"] for r in records} - {""})
    if kinds:
        groups = {k: [r for r in records if r["kind"] == k] for k in kinds}
        summary["by_kind"] = {
            kind: {"count": len(group), "oiou": cumulative_iou(group)}
            for kind, group in groups.items()
        }
    return summary


def bootstrap_interval(records: list[dict], seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % interval of oIoU over images drawn with replacement.

    Images, not expressions, are drawn, since the expressions of one image share its
    difficulty.
    """
    images, index = np.unique([r["image_id"] for r in records], return_inverse=True)
    sums = [np.bincount(index, c, len(images)) for c in _columns(records, "")]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(images), size=(_BOOTSTRAP_SAMPLES, len(images)))
    intersection, union = (column[drawn].sum(axis=1) for column in sums)
    low, high = np.percentile(intersection / np.maximum(union, 1), [2.5, 97.5])
    return float(low), float(high)


def _bucket(records: list[dict], least: int, most: int) -> dict:
    inside = [r for r in records if least <= r["length"] <= most]
    return {
        "min": least,
        "max": most,
        "count": len(inside),
        "oiou": cumulative_iou(inside),
        "ci95": list(bootstrap_interval(inside)),
    }


def _columns(records: list[dict], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([r[f"{prefix}intersection"] for r in records], np.float64),
        np.array([r[f"{prefix}union"] for r in records], np.float64),
    )
