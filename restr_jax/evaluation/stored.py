"""Compares stored predictions with the ground truth."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from restr_jax.data import preprocess, splits
from restr_jax.data.text import tokenize
from restr_jax.evaluation import metrics
from restr_jax.evaluation.predictions import masks_of
from restr_jax.files import named
from tfds_builders import published


def score(
    predictions: list[dict],
    split: splits.Split,
    stretch: tuple[int, int],
    *,
    strictly: bool = False,
    stretched: bool = False,
) -> dict:
    """Scores the predictions of a whole split.

    Args:
        predictions: one per expression, in any order, as `predictions.read` returns
            them.
        split: the split with the ground truth.
        stretch: (height, width) to stretch masks to for the additional comparison, if
            a prediction has no stretched mask of its own.
        strictly: see `metrics.summarize`.
        stretched: whether the comparison at the fixed size suffices, so that a
            prediction may have a stretched mask only.

    Returns:
        The result of `metrics.summarize`. If any prediction has a stretched mask only,
        all scores are those of the stretched masks, in `stretched`.

    Raises:
        ValueError: if an expression is missing, unknown or duplicated, or if a mask and
            its image differ in size.
    """
    by_name = {str(entry["sent_id"]): entry for entry in predictions}
    if len(by_name) != len(predictions):
        raise ValueError(
            f"{len(predictions) - len(by_name)} expressions of {split.name} are "
            "predicted more than once; keep one prediction per expression."
        )
    truths = list(_expressions(split))
    _check_names(by_name, [truth["sent_id"] for truth in truths], split.name)
    records = [_compare(by_name[t["sent_id"]], t, stretch, stretched) for t in truths]
    buckets = published.length_buckets(split.name.rpartition(":")[0])
    if all("union" in record for record in records):
        return metrics.summarize(records, buckets, strictly=strictly)
    small = "stretched_"
    records = [
        {key: x for key, x in r.items() if not key.startswith(small)}
        | {key: r[small + key] for key in ("intersection", "union", "pixels")}
        for r in records
    ]
    summary = metrics.summarize(records, buckets, strictly=strictly)
    counts = ("num_images", "num_expressions")
    return {key: summary.pop(key) for key in counts} | {"stretched": summary}


def _expressions(split: splits.Split) -> Iterator[dict]:
    """Yields every expression of a split with its mask."""
    for i, sentences in enumerate(split.sentences):
        record = split.source[i]
        with Image.open(io.BytesIO(record["image"])) as image:
            size = (image.height, image.width)
        objects, expressions = record["objects"], record["expressions"]
        for k, sentence in enumerate(sentences):
            is_meant = splits.has_object(record, k)
            counts = objects["mask"][expressions["object"][k]] if is_meant else None
            yield {
                "sent_id": expressions["sent_id"][k].decode(),
                "image_id": record["image_id"].decode(),
                "kind": expressions["kind"][k].decode(),
                "length": len(tokenize(sentence)),
                "no_target": not is_meant,
                "truth": {"size": size, "counts": counts},
            }


def _check_names(by_name: dict, wanted: list[str], split: str) -> None:
    missing = [name for name in wanted if name not in by_name]
    foreign = sorted(by_name.keys() - set(wanted))
    if missing or foreign:
        raise ValueError(
            f"The predictions do not match {split}, which has {len(wanted)} "
            f"expressions: {len(missing)} are missing{_examples(missing)}, "
            f"{len(foreign)} are unknown{_examples(foreign)}. Predict every expression "
            "once; skipped expressions would raise the score."
        )


def _compare(
    prediction: dict, truth: dict, stretch: tuple[int, int], stretched: bool
) -> dict:
    """Returns the record of one expression, with the overlaps of its given masks."""
    size, counts = truth["truth"]["size"], truth["truth"]["counts"]
    ours, small = masks_of(prediction, size, stretch if stretched else None)
    theirs = np.zeros(size, bool)
    if counts is not None:
        theirs = preprocess.decode_mask(counts, size)
    record = {key: x for key, x in truth.items() if key != "truth"}
    if ours is not None:
        record |= _overlap("", ours, theirs)
    if small is None:
        small = preprocess.stretch_mask(ours, stretch)
    small_truth = preprocess.stretch_mask(theirs, small.shape)
    return record | _overlap("stretched_", small, small_truth)


def _overlap(prefix: str, mask: np.ndarray, truth: np.ndarray) -> dict:
    intersection, union = metrics.overlap(mask, truth)
    return {
        f"{prefix}intersection": intersection,
        f"{prefix}union": union,
        f"{prefix}pixels": int(np.count_nonzero(mask)),
    }


def _examples(names: list[str]) -> str:
    return f" ({named(names)})" if names else ""
