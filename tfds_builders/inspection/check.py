"""Verifies built data sets, record by record."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from tfds_builders import rle
from tfds_builders.inspection import words
from tfds_builders.inspection.progress import progress_bar
from tfds_builders.storage.built import Built


def check_all(data_dir: str, names: list[str]) -> None:
    """Checks built data sets; prints the faults of each, and its untaught expressions.

    Raises:
        FileNotFoundError: if one has not been built.
        ValueError: if any of them has a fault; the message lists all faults.
    """
    wrong = []
    for name in names:
        built = Built(data_dir, name)
        faults = list(check(built))
        wrong += [f"{name}, {fault}" for fault in faults]
        total = sum(count["images"] for count in built.counts().values())
        print(f"{name}: {total:,} records, {len(faults)} faults", flush=True)
        for line in words.untaught(built.metadata["sentences"]):
            print(f"  {line}", flush=True)
    if wrong:
        lines = "\n  ".join(wrong)
        raise ValueError(
            f"{len(wrong)} faults:\n  {lines}\n"
            "Remove the folders of these sets and build them again."
        )


def check(built: Built) -> Iterator[str]:
    """Yields the faults of a built data set."""
    for split, info in built.info.splits.items():
        listed = len(built.metadata["image_ids"].get(split, ()))
        if info.num_examples != listed:
            yield f"{split}: {info.num_examples} records, {listed} listed"
            continue
        try:
            records = built.records(split)
            found = len(records)
        except Exception as error:  # array_record raises many types.
            yield f"{split}: its files cannot be opened ({error})"
            continue
        if found != listed:
            yield f"{split}: the files hold {found} records, {listed} are listed"
            continue
        for i in progress_bar(range(found), desc=f"{built.name}, {split}"):
            try:
                faults = list(_check_record(records[i], built, split, i))
            except Exception as error:
                faults = [f"it cannot be read ({error})"]
            image = built.metadata["image_ids"][split][i]
            yield from (f"{split}, record {i} (image {image}): {f}" for f in faults)


def _check_record(record: dict, built: Built, split: str, i: int) -> Iterator[str]:
    with Image.open(io.BytesIO(record["image"])) as image:
        mode, size = image.mode, (image.height, image.width)
        image.load()
    if mode != "RGB":
        yield f"the image is {mode}, not RGB"
    objects, expressions = record["objects"], record["expressions"]
    for k, counts in enumerate(objects["mask"]):
        name = objects["object_id"][k].decode()
        try:
            rle.read_runs(counts, *size)
            if not mask_util.area({"size": list(size), "counts": counts}):
                yield f"the mask of object {name} has no pixels"
        except ValueError as error:
            yield f"the mask of object {name}: {error}"
    # Some objects have no expression, and some expressions refer to no object.
    named, count = np.unique(expressions["object"]), len(objects["mask"])
    if not set(named.tolist()) <= set(range(-1, count)):
        yield f"expressions refer to objects {named.tolist()}, but it has only {count}"
    for kind in np.asarray(expressions["kind"])[np.asarray(expressions["object"]) < 0]:
        if kind != b"nothing":
            yield (
                f"an expression of kind {kind.decode()!r} fits no object; only kind "
                "'nothing' may"
            )
    sentences = [sentence.decode() for sentence in expressions["sent"]]
    if not all(sentence.strip() for sentence in sentences):
        yield "an expression is empty"
    metadata = built.metadata
    if sentences != metadata["sentences"][split][i]:
        yield "its sentences differ from those in the metadata"
    if record["image_id"].decode() != metadata["image_ids"][split][i]:
        yield (
            f"its image_id is {record['image_id'].decode()}, but "
            f"{metadata['image_ids'][split][i]} in the metadata"
        )
    if len(objects["mask"]) != metadata["num_objects"][split][i]:
        yield (
            f"it has {len(objects['mask'])} objects, but "
            f"{metadata['num_objects'][split][i]} in the metadata"
        )
