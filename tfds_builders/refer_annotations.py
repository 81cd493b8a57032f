"""Reads the `refer` distribution: pickled refs and COCO-style instances.

Layout under a manual directory, as https://github.com/lichengunc/refer unpacks it:

    <dataset>/refs(<partition>).p             who is referred to, and the sentences
    <dataset>/instances.json                  images, objects, polygons
    images/mscoco/images/train2014/*.jpg      MS COCO train2014

Nothing here trusts a file: pickles may hold plain containers only, masks and references
between the files are checked, and what is wrong is named.
"""

import io
import json
import os
import pickle
from collections.abc import Iterator

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from tfds_builders import records

_REF_FIELDS = ("ref_id", "ann_id", "image_id", "split", "sentences")
_SENTENCE_FIELDS = ("sent_id", "sent", "raw")
_ENTRY_FIELDS = {
    "images": ("file_name", "height", "width"),
    "annotations": ("image_id", "segmentation"),
    "categories": ("name",),
}
# How many missing files an error message names before it only counts them.
_MOST_NAMED = 5


class _PlainUnpickler(pickle.Unpickler):
    """Loads dicts, lists, strings and numbers; refuses every class and function."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(
            f"it refers to {module}.{name}; only plain lists, dicts, strings and "
            "numbers are admitted"
        )


def read_refs(path: str) -> list[dict]:
    """Reads a `refs(<partition>).p` file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a pickle of refs.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(_missing([path]))
    try:
        with open(path, "rb") as file:
            # The published pickles were written by Python 2, so str means bytes.
            refs = _PlainUnpickler(file, encoding="utf-8").load()
    except Exception as error:  # A damaged pickle can raise nearly anything.
        raise ValueError(f"{path} is not a pickle of refs: {error}.") from error
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{path} holds a {type(refs).__name__}, not a list of refs.")
    for i, ref in enumerate(refs):
        missing = [f for f in _REF_FIELDS if not isinstance(ref, dict) or f not in ref]
        if missing:
            raise ValueError(
                f"{path}, entry {i}: a ref needs the fields {_REF_FIELDS}; "
                f"{missing} are missing."
            )
        for sentence in ref["sentences"]:
            missing = [f for f in _SENTENCE_FIELDS if f not in sentence]
            if missing:
                raise ValueError(
                    f"{path}, ref {ref['ref_id']}: a sentence needs the fields "
                    f"{_SENTENCE_FIELDS}; {missing} are missing."
                )
    return refs


def read_instances(path: str) -> dict:
    """Reads an `instances.json` file into dicts keyed by id.

    Returns:
        A dict with "images", "annotations" and "categories" by their ids.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not COCO-style JSON.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(_missing([path]))
    try:
        with open(path, encoding="utf-8") as file:
            instances = json.load(file)
        for part, fields in _ENTRY_FIELDS.items():
            for entry in instances[part]:
                for field in fields:
                    entry[field]  # Raises KeyError.
        return {
            part: {entry["id"]: entry for entry in instances[part]}
            for part in _ENTRY_FIELDS
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not an instances.json with images, annotations and "
            f"categories: {error!r}. Unpack it again from the refer distribution."
        ) from error


def encode_segmentation(segmentation, height: int, width: int, what: str) -> str:
    """Turns polygons or RLE into one mask, the union of the parts.

    Args:
        segmentation: list of polygons [x, y, x, y, ...], one RLE dict, or a list of
            RLE dicts; counts may be a list of numbers or COCO's string.
        height: of the image, pixels.
        width: of the image, pixels.
        what: names the object in errors.

    Returns:
        COCO's compressed RLE.

    Raises:
        ValueError: if the mask has another size than its image, no pixel, or cannot be
            read.
    """
    if not isinstance(segmentation, list | dict):
        raise ValueError(f"{what}: the segmentation cannot be read: {segmentation!r}")
    parts = [segmentation] if isinstance(segmentation, dict) else list(segmentation)
    for part in parts:
        if isinstance(part, dict) and part.get("size") != [height, width]:
            raise ValueError(
                f"{what}: the mask is {part.get('size')} pixels (height, width), its "
                f"image [{height}, {width}]; the annotation and the image do not "
                "belong together."
            )
    try:
        merged = mask_util.merge([_part(part, height, width) for part in parts])
    except Exception as error:  # pycocotools raises bare Exceptions.
        raise ValueError(f"{what}: the segmentation cannot be read: {error}") from error
    if not mask_util.area(merged):
        raise ValueError(f"{what}: the mask has no pixel.")
    return merged["counts"].decode("ascii")


def _part(part, height: int, width: int) -> dict:
    """Turns one polygon or RLE into an RLE that pycocotools can be trusted with.

    It checks neither polygons nor runs, and crashes or reads past them.
    """
    if not isinstance(part, dict):
        points = np.asarray(part, np.float64)
        # Rounding may take a polygon a little out of its image, never far.
        near = np.abs(points) <= 10 * max(height, width)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not near.all():
            raise ValueError("a polygon is not a list x, y, x, y, ... on the image")
        return mask_util.frPyObjects([part], height, width)[0]
    counts = part["counts"]
    runs = counts if isinstance(counts, list) else _runs(counts)
    if min(runs) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs cover {sum(runs)} pixels, not {height * width}")
    if isinstance(counts, list):
        return mask_util.frPyObjects(part, height, width)
    return part


def _runs(counts: str | bytes) -> list[int]:
    """Decodes COCO's string of run lengths: 5 bits a character, low bits first."""
    runs, value, shift = [], 0, 0
    for char in counts.encode() if isinstance(counts, str) else counts:
        bits = char - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{chr(char)!r} is no character of a compressed RLE")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # More bits follow.
            continue
        if bits & 16:  # Negative.
            value -= 1 << shift
        # From the fourth run on, the difference to the last but one is stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def read_image(path: str, height: int, width: int) -> io.BytesIO:
    """Reads an image file whole, checks it, and returns it as an RGB file.

    Raises:
        ValueError: if the file is truncated, is no image or has another size than
            the annotations say.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Exception as error:
        raise ValueError(
            f"{path} is truncated or not an image ({error}); download it again."
        ) from error
    if image.size != (width, height):
        raise ValueError(
            f"{path} is {image.height} x {image.width} pixels, but its annotations say "
            f"{height} x {width}; the image is not the one that was annotated."
        )
    if image.mode != "RGB":
        # Backends disagree on how to decode grey and CMYK files, so none is stored.
        return records.encode_png(np.asarray(image.convert("RGB")))
    return io.BytesIO(content)


def find_image_files(instances: dict, image_ids: set[int], folder: str) -> dict:
    """Returns the path of each image.

    Raises:
        FileNotFoundError: if any is missing; all are looked for first.
        ValueError: if an id has no entry in the instances.
    """
    unknown = sorted(image_ids - instances["images"].keys())
    if unknown:
        raise ValueError(
            f"{len(unknown)} referred images have no entry in instances.json, for "
            f"example {unknown[0]}; refs and instances do not belong together."
        )
    paths = {
        i: os.path.join(folder, instances["images"][i]["file_name"])
        for i in sorted(image_ids)
    }
    missing = [path for path in paths.values() if not os.path.exists(path)]
    if missing:
        raise FileNotFoundError(_missing(missing))
    return paths


def make_records(refs: list[dict], instances: dict, paths: dict) -> Iterator[dict]:
    """Yields one record per image, in the order of the image ids.

    Args:
        refs: the refs of one split.
        instances: what `read_instances` returned.
        paths: what `find_image_files` returned.
    """
    by_image: dict[int, list[dict]] = {}
    for ref in refs:
        by_image.setdefault(ref["image_id"], []).append(ref)
    for image_id, image_refs in sorted(by_image.items()):
        entry = instances["images"][image_id]
        size = entry["height"], entry["width"]
        objects, expressions = [], []
        for ref in sorted(image_refs, key=lambda r: r["ref_id"]):
            expressions += _expressions(ref, len(objects))
            objects.append(_object(ref, instances, *size))
        yield {
            "image": read_image(paths[image_id], *size),
            "image_id": str(image_id),
            "objects": objects,
            "expressions": expressions,
        }


def _object(ref: dict, instances: dict, height: int, width: int) -> dict:
    what = f"ref {ref['ref_id']}, object {ref['ann_id']}"
    annotation = instances["annotations"].get(ref["ann_id"])
    if annotation is None:
        raise ValueError(
            f"{what} has no entry in instances.json; refs and instances do not "
            "belong together."
        )
    if annotation["image_id"] != ref["image_id"]:
        raise ValueError(
            f"{what} is on image {annotation['image_id']}, not on {ref['image_id']}; "
            "refs and instances do not belong together."
        )
    category = instances["categories"].get(annotation.get("category_id"), {})
    segmentation = annotation["segmentation"]
    return {
        "object_id": str(ref["ann_id"]),
        "ref_id": str(ref["ref_id"]),
        "category": category.get("name", ""),
        "mask": encode_segmentation(segmentation, height, width, what),
    }


def _expressions(ref: dict, position: int) -> list[dict]:
    return [
        {
            "object": position,
            "sent_id": str(sentence["sent_id"]),
            "sent": sentence["sent"],
            "raw": sentence["raw"],
            "kind": "",
        }
        for sentence in ref["sentences"]
    ]


def _missing(paths: list[str]) -> str:
    named = "\n  ".join(paths[:_MOST_NAMED])
    more = len(paths) - _MOST_NAMED
    return (
        f"{len(paths)} files are missing:\n  {named}"
        + (f"\n  and {more} more" if more > 0 else "")
        + "\nREADME.md beside the builder says where to get them and how to lay "
        "them out under --manual_dir."
    )
