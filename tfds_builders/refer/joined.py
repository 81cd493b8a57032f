"""Joins the refs and the instances of the `refer` distribution, by split and image."""

import pathlib
from collections.abc import Mapping

from tfds_builders import masks
from tfds_builders.annotations import (
    AnnotatedImage,
    Annotations,
    Problems,
    ReferredObject,
    Sentence,
    expression_fault,
)
from tfds_builders.fields import ID, TEXT
from tfds_builders.refer.annotations import ANNOTATION, IMAGE, has_fields, objects_of
from tfds_builders.storage.paths import ManualFolder

_SENTENCE = {"sent_id": ID, "sent": None, "raw": None}


def make_annotations(
    refs: list[dict],
    instances: dict[str, dict],
    splits: tuple[str, ...],
    images: pathlib.Path,
    problems: Problems,
) -> Annotations:
    """Joins refs and instances, by split and image.

    Args:
        refs: the result of `annotations.read_refs`; the list is emptied to free memory.
        instances: the result of `annotations.read_instances`.
        splits: the expected splits of the refs.
        images: the folder of the images.
        problems: receives a line for each unusable entry.

    Raises:
        ValueError: if the usable refs have other splits.
    """
    found = {split for ref in refs for split in splits_of(ref["split"])}
    if found != set(splits):
        differ = f"have the splits {sorted(found)}, expected {sorted(splits)}"
        # The unusable refs may be those of the missing splits.
        raise ValueError(
            f"{problems.text()}\nThe usable refs {differ}."
            if problems.lines and found < set(splits)
            else f"The refs {differ}; they belong to another partition."
        )
    files = ManualFolder(images, problems.respelled)
    by_image: dict[str, dict] = {split: {} for split in splits}
    refs.sort(key=lambda ref: _in_order(ref["ref_id"]), reverse=True)
    while refs:
        ref = refs.pop()
        thing = _object(ref, instances, files, problems)
        if thing:
            for split in splits_of(ref["split"]):
                by_image[split].setdefault(ref["image_id"], []).append(thing)
    return {
        split: [
            _image(instances["images"][image_id], tuple(objects), images, files)
            for image_id, objects in sorted(
                of_split.items(), key=lambda item: _in_order(item[0])
            )
        ]
        for split, of_split in by_image.items()
    }


def splits_of(split: str) -> list[str]:
    """Returns the splits of a ref's `split`; "testBC" stands for testB and testC."""
    if split.startswith("test") and len(split) > 4:
        return [f"test{letter}" for letter in split[4:]]
    return [split]


def _in_order(key: str | int) -> tuple[bool, str | int]:
    """Sorts numbers before text."""
    return isinstance(key, str), key


def _image(
    entry: dict,
    objects: tuple[ReferredObject, ...],
    folder: pathlib.Path,
    files: ManualFolder,
) -> AnnotatedImage:
    return AnnotatedImage(
        image_id=str(entry["id"]),
        path=folder / files.find(entry["file_name"]),
        size=(entry["height"], entry["width"]),
        objects=objects,
    )


def _object(
    ref: dict, instances: dict[str, dict], files: ManualFolder, problems: Problems
) -> ReferredObject | None:
    """Returns what a ref means; adds a problem and returns None if it is unusable.

    Several objects have the union of their masks.
    """
    ids = objects_of(ref)
    name = "+".join(map(str, ids))
    where = f"ref {ref['ref_id']}, " + (f"object {name}" if ids else "no object")
    image = instances["images"].get(ref["image_id"])
    if not _is_usable(image, IMAGE, f"image {ref['image_id']!r}", where, problems):
        return None
    try:
        files.find(image["file_name"])
    except ValueError as error:
        problems.add(f"{where}, image {image['id']!r}", str(error))
        return None
    size = [image["height"], image["width"]]
    parts = [_part(ref, key, size, instances, problems) for key in ids]
    sentences = _sentences(ref, where, problems)
    if None in parts or not sentences:
        return None
    rles = [{"size": size, "counts": mask} for mask, _ in parts]
    return ReferredObject(
        object_id=name,
        ref_id=str(ref["ref_id"]),
        category="+".join(dict.fromkeys(c for _, c in parts if c)),
        mask=masks.encode_segmentation(rles, *size) if rles else None,
        sentences=sentences,
    )


def _part(
    ref: dict,
    key: str | int,
    size: list[int],
    instances: dict[str, dict],
    problems: Problems,
) -> tuple[str, str] | None:
    """Returns (mask, category) of one object; adds a problem if it is unusable."""
    where = f"ref {ref['ref_id']}, object {key}"
    annotation = instances["annotations"].get(key)
    if not _is_usable(annotation, ANNOTATION, f"object {key!r}", where, problems):
        return None
    if annotation["image_id"] != ref["image_id"]:
        problems.add(
            where,
            f"it is on image {annotation['image_id']!r}, not on {ref['image_id']!r}",
        )
        return None
    try:
        segmentation, fault = masks.without_slivers(annotation["segmentation"])
        mask = masks.encode_segmentation(segmentation, *size)
    except ValueError as error:
        problems.add(where, str(error))
        return None
    if fault:
        problems.add(where, fault)
    category = instances["categories"].get(annotation.get("category_id"), {})
    inside = f"{where}, instances.json"
    if not has_fields(category, {}, inside, problems, {"name": TEXT}):
        return None
    return mask, category.get("name") or ""


def _is_usable(
    entry: dict | None, fields: Mapping, what: str, where: str, problems: Problems
) -> bool:
    """Checks an entry of instances.json; adds a problem if it is unusable."""
    if entry is None:
        problems.add(where, f"{what} has no entry in instances.json")
        return False
    inside = f"{where}, instances.json"
    return has_fields(entry, fields, inside, problems, {"category_id": ID})


def _sentences(ref: dict, where: str, problems: Problems) -> tuple[Sentence, ...]:
    sentences = []
    for i, sentence in enumerate(ref["sentences"]):
        here = f"{where}, sentence {i}"
        if not has_fields(sentence, _SENTENCE, here, problems):
            continue
        fault = expression_fault(sentence["sent"]) or expression_fault(sentence["raw"])
        if fault:
            problems.add(here, fault)
            continue
        sentences.append(
            Sentence(str(sentence["sent_id"]), sentence["sent"], sentence["raw"])
        )
    if not ref["sentences"]:
        problems.add(where, "it has no sentences")
    return tuple(sentences)
