"""Reads stored predictions and compares them with the ground truth."""

import io
import json
import pathlib
import reprlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from restr_jax.data import preprocess, splits
from restr_jax.data.text import tokenize
from restr_jax.evaluation import metrics
from tfds_builders import images, published

_MOST_NAMED = 5


def read(path: pathlib.Path) -> list[dict]:
    """Reads a file of predictions.

    Raises:
        ValueError: if lines are not JSON or lack a field; all of them are counted.
    """
    predictions, faults = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = json.loads(line)
            entry["mask"]["size"], entry["mask"]["counts"]
            if not isinstance(entry["sent_id"], str | int):
                raise TypeError("sent_id")
            if not isinstance(entry.get("split", ""), str):
                raise TypeError("split")
            if not isinstance(entry.get("stretched_mask") or {}, dict):
                raise TypeError("stretched_mask")
            predictions.append(entry)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            faults.append(f"line {number} ({error!r})")
    if faults:
        raise ValueError(
            f"{path}: {len(faults)} lines are not predictions with sent_id and mask "
            f"(size, counts): {_named(faults)}. Fix these lines."
        )
    if not predictions:
        raise ValueError(
            f"{path} has no predictions; it needs one JSON line per expression."
        )
    return predictions


def score(
    predictions: list[dict],
    split: splits.Split,
    stretch: tuple[int, int],
    *,
    strictly: bool = False,
) -> dict:
    """Scores the predictions of a whole split.

    Args:
        predictions: one per expression, in any order, as `read` returns them.
        split: the split with the ground truth.
        stretch: (height, width) to stretch masks to for the additional comparison, if
            a prediction has no stretched mask of its own.
        strictly: see `metrics.summarize`.

    Returns:
        The result of `metrics.summarize`.

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
    records = [_compare(by_name[t["sent_id"]], t, stretch) for t in truths]
    buckets = published.length_buckets(split.name.rpartition(":")[0])
    return metrics.summarize(records, buckets, strictly=strictly)


def _expressions(split: splits.Split) -> Iterator[dict]:
    """Yields every expression of a split with its mask."""
    for i, sentences in enumerate(split.sentences):
        record = split.source[i]
        with Image.open(io.BytesIO(record["image"])) as image:
            size = [image.height, image.width]
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


def _compare(prediction: dict, truth: dict, stretch: tuple[int, int]) -> dict:
    """Returns the record of one expression for `metrics`."""
    size = truth["truth"]["size"]
    if prediction["mask"]["size"] != size:
        found = reprlib.repr(prediction["mask"]["size"])
        raise ValueError(
            f"The mask of expression {truth['sent_id']} is {found} pixels (height, "
            f"width), but its image is {size}; resize the mask to its image."
        )
    ours = _decode(prediction["mask"], truth["sent_id"])
    counts = truth.pop("truth")["counts"]
    theirs = np.zeros(size, bool)
    if counts is not None:
        theirs = preprocess.decode_mask(counts, tuple(size))
    own = prediction.get("stretched_mask")
    small = _decode(own, truth["sent_id"]) if own else None
    if small is None:
        small = preprocess.stretch_mask(ours, stretch)
    small_truth = preprocess.stretch_mask(theirs, small.shape)
    names = ("intersection", "union", "stretched_intersection", "stretched_union")
    overlaps = metrics.overlap(ours, theirs) + metrics.overlap(small, small_truth)
    found = {"pixels": int(np.count_nonzero(ours))}
    return truth | found | dict(zip(names, overlaps, strict=True))


def _decode(rle: dict, name: str) -> np.ndarray:
    try:
        height, width = rle["size"]
        if not all(type(side) is int and side > 0 for side in (height, width)):
            raise ValueError(f"its size is {reprlib.repr(rle['size'])}")
        if images.is_too_large(height, width):
            raise ValueError(f"{height} x {width} pixels are too many")
        return preprocess.decode_mask(rle["counts"].encode(), (height, width))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The mask of expression {name} is not a compressed RLE: {error}."
        ) from error


def _examples(names: list[str]) -> str:
    return f" ({_named(names)})" if names else ""


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
