"""Reads stored predictions and holds them against the truth."""

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
from tfds_builders import published

_MOST_NAMED = 5


def read(path: pathlib.Path) -> list[dict]:
    """Reads a file of predictions.

    Raises:
        ValueError: if a line is not JSON, or lacks a field; all such lines are counted.
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
            f"{path}: {len(faults)} lines are no predictions with sent_id and mask "
            f"(size, counts): {_named(faults)}."
        )
    if not predictions:
        raise ValueError(f"{path} holds no prediction.")
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
        split: the truth.
        stretch: (height, width) at which masks are compared too, where a prediction has
            no stretched mask of its own.
        strictly: see `metrics.summarize`.

    Returns:
        What `metrics.summarize` returns.

    Raises:
        ValueError: if an expression is missing, is foreign, is there twice, or has a
            mask of another size than its image.
    """
    by_name = {str(entry["sent_id"]): entry for entry in predictions}
    if len(by_name) != len(predictions):
        raise ValueError(
            f"{len(predictions) - len(by_name)} expressions of {split.name} are "
            "predicted more than once."
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
            f"The predictions are not those of {split}, which has {len(wanted)} "
            f"expressions: {len(missing)} are missing{_examples(missing)}, "
            f"{len(foreign)} are foreign{_examples(foreign)}. Every expression has to "
            "be predicted once; what is left out would raise the score."
        )


def _compare(prediction: dict, truth: dict, stretch: tuple[int, int]) -> dict:
    """Makes the record of one expression that `metrics` reads."""
    size = truth["truth"]["size"]
    if prediction["mask"]["size"] != size:
        found = reprlib.repr(prediction["mask"]["size"])
        raise ValueError(
            f"The mask of expression {truth['sent_id']} is {found} pixels (height, "
            f"width), its image {size}."
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
    found = {"empty": not ours.any()}
    return truth | found | dict(zip(names, overlaps, strict=True))


def _decode(rle: dict, name: str) -> np.ndarray:
    try:
        height, width = rle["size"]
        if not all(type(side) is int and side > 0 for side in (height, width)):
            raise ValueError(f"its size is {reprlib.repr(rle['size'])}")
        if height * width > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"{height} x {width} pixels are too many")
        return preprocess.decode_mask(rle["counts"].encode(), (height, width))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The mask of expression {name} is no compressed RLE: {error}."
        ) from error


def _examples(names: list[str]) -> str:
    return f" ({_named(names)})" if names else ""


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
