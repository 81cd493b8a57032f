"""Reads the `refer` distribution: pickled refs and COCO-style instances.

Layout under a manual directory, as https://github.com/lichengunc/refer unpacks it:

    <dataset>/refs(<partition>).p   referred objects and their expressions
    <dataset>/instances.json        images, objects, polygons or RLE
    images/...                      the images; `file_name` is relative to this folder

Files are untrusted. Pickles may hold only plain containers, references between the
files are checked, and each error names its entry.
"""

import pathlib
import reprlib
import types
from collections import Counter
from collections.abc import Mapping

from tfds_builders import json_stream, masks
from tfds_builders.annotations import (
    AnnotatedImage,
    Annotations,
    Problems,
    ReferredObject,
    Sentence,
    expression_fault,
)
from tfds_builders.fields import ID, PIXELS, TEXT, Kind, check_fields
from tfds_builders.refer import plain_pickle

# Types of fields for `check_fields`. Fields with None are checked elsewhere.
_SENTENCES: Kind = (list, tuple), "a list of sentences"
_REF = {"ref_id": ID, "ann_id": ID, "image_id": ID, "split": TEXT}
_REF |= {"sentences": _SENTENCES}
_IMAGE = {"file_name": TEXT, "height": PIXELS, "width": PIXELS}
_ANNOTATION = {"image_id": ID, "segmentation": None}
_SENTENCE = {"sent_id": ID, "sent": None, "raw": None}
# Fields of instances.json that are kept besides ids; they may be missing.
_KEPT = {
    "images": tuple(_IMAGE),
    "annotations": (*_ANNOTATION, "category_id"),
    "categories": ("name",),
}


def read_refs(path: pathlib.Path, problems: Problems) -> list[dict]:
    """Reads a `refs(<partition>).p` file; refs that lack fields are skipped.

    Raises:
        ValueError: if the file is not a pickle of a list.
    """
    try:
        refs = plain_pickle.load(path.read_bytes())
    except OSError:
        raise
    except Exception as error:  # A damaged pickle can raise nearly any type.
        raise ValueError(
            f"{path} is not a pickle of refs: {error}. Unpack it again from the refer "
            "distribution."
        ) from error
    if not isinstance(refs, list) or not refs:
        raise ValueError(
            f"{path} holds a {type(refs).__name__}, expected a list with at least one "
            "ref. Unpack it again from the refer distribution."
        )
    for i, ref in enumerate(refs):
        refs[i] = _slim(ref)
    _refuse_generalized(refs, path)
    usable = [
        ref
        for i, ref in enumerate(refs)
        if _has_fields(ref, _REF, f"{path}, entry {i}", problems)
    ]
    return _without_repeats(usable, "ref_id", str(path), problems)


def _refuse_generalized(refs: list, path: pathlib.Path) -> None:
    """Refuses gRefCOCO's refs, which have the names and fields of the others.

    Raises:
        ValueError: if each `ann_id` is a list.
    """
    objects = [ref.get("ann_id") if isinstance(ref, dict) else None for ref in refs]
    if all(isinstance(several, list | tuple) for several in objects):
        raise ValueError(
            f"{path} is a file of gRefCOCO: the ann_id of entry 0 is "
            f"{reprlib.repr(objects[0])}, a list, expected one object in each entry. "
            "Build it as the data set grefcoco, or put the file of the refer "
            "distribution here."
        )


def _slim(ref):
    """Drops the unused fields of a ref; its tokens alone take half of the memory."""
    if not isinstance(ref, dict):
        return ref
    sentences = ref.get("sentences")
    for sentence in sentences if isinstance(sentences, list | tuple) else ():
        if isinstance(sentence, dict):
            sentence.pop("tokens", None)
    return {field: ref[field] for field in _REF if field in ref}


def read_instances(
    path: pathlib.Path, refs: list[dict], problems: Problems
) -> dict[str, dict]:
    """Reads the entries of an `instances.json` file that refs need.

    Most of its objects have no expressions and are dropped.

    Args:
        path: the file.
        refs: the result of `read_refs`.
        problems: receives a line for each unusable entry.

    Returns:
        A dict with "images", "annotations" and "categories", each by id.

    Raises:
        ValueError: if the file is not COCO-style JSON.
    """
    wanted = {
        "images": {ref["image_id"] for ref in refs},
        "annotations": {ref["ann_id"] for ref in refs},
    }
    kept: dict[str, list] = {part: [] for part in _KEPT}
    try:
        for part, entry in json_stream.entries(path, tuple(_KEPT)):
            if entry["id"] is None:
                continue
            entry |= check_fields(entry, {"id": ID}, {})
            if part not in wanted or entry["id"] in wanted[part]:
                kept[part].append(_compact(entry, _KEPT[part]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not an instances.json with images, annotations and "
            f"categories: {error!r}. Unpack it again from the refer distribution."
        ) from error
    return {
        part: {
            entry["id"]: entry
            for entry in _without_repeats(entries, "id", f"{path}, {part}", problems)
        }
        for part, entries in kept.items()
    }


def _compact(entry: dict, fields: tuple[str, ...]) -> dict:
    kept = {field: entry[field] for field in ("id", *fields) if field in entry}
    if "segmentation" in kept:
        kept["segmentation"] = masks.compact(kept["segmentation"])
    return kept


def _without_repeats(
    entries: list[dict], key: str, where: str, problems: Problems
) -> list[dict]:
    """Skips all entries that share an id, since the id is ambiguous."""
    counts = Counter(entry[key] for entry in entries)
    for value, count in counts.items():
        if count > 1:
            problems.add(f"{where}, {key} {value}", f"{count} entries have this id")
    return [entry for entry in entries if counts[entry[key]] == 1]


def _has_fields(
    entry,
    fields: Mapping[str, Kind | None],
    where: str,
    problems: Problems,
    optional: Mapping[str, Kind] = types.MappingProxyType({}),
) -> bool:
    """Checks that an entry has fields of the right types; adds a problem if not.

    Its ids and sizes become whole numbers where they stand for one.
    """
    missing = [f for f in fields if not isinstance(entry, dict) or f not in entry]
    if missing:
        problems.add(where, f"it lacks {', '.join(missing)}")
        return False
    try:
        for text in filter(lambda value: isinstance(value, str), entry.values()):
            text.encode("utf-8")
        kinds = {field: kind for field, kind in fields.items() if kind}
        entry |= check_fields(entry, kinds, dict(optional))
    except UnicodeEncodeError as error:
        problems.add(where, f"its text is not UTF-8 ({error})")
    except ValueError as error:
        problems.add(where, str(error))
    else:
        return True
    return False


def _in_order(key: str | int) -> tuple[bool, str | int]:
    """Sorts numbers before text."""
    return isinstance(key, str), key


def make_annotations(
    refs: list[dict],
    instances: dict[str, dict],
    splits: tuple[str, ...],
    images: pathlib.Path,
    problems: Problems,
) -> Annotations:
    """Joins refs and instances, by split and image.

    Args:
        refs: the result of `read_refs`; the list is emptied to free memory.
        instances: the result of `read_instances`.
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
    by_image: dict[str, dict] = {split: {} for split in splits}
    refs.sort(key=lambda ref: _in_order(ref["ref_id"]), reverse=True)
    while refs:
        ref = refs.pop()
        thing = _object(ref, instances, problems)
        if thing:
            for split in splits_of(ref["split"]):
                by_image[split].setdefault(ref["image_id"], []).append(thing)
    return {
        split: [
            _image(instances["images"][image_id], tuple(objects), images)
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


def _image(
    entry: dict, objects: tuple[ReferredObject, ...], folder: pathlib.Path
) -> AnnotatedImage:
    return AnnotatedImage(
        image_id=str(entry["id"]),
        path=folder / entry["file_name"],
        size=(entry["height"], entry["width"]),
        objects=objects,
    )


def _object(
    ref: dict, instances: dict[str, dict], problems: Problems
) -> ReferredObject | None:
    """Returns the object of a ref; adds a problem and returns None if unusable."""
    where = f"ref {ref['ref_id']}, object {ref['ann_id']}"
    image = instances["images"].get(ref["image_id"])
    annotation = instances["annotations"].get(ref["ann_id"])
    optional, inside = {"category_id": ID}, f"{where}, instances.json"
    for entry, fields, what in (
        (image, _IMAGE, f"image {ref['image_id']!r}"),
        (annotation, _ANNOTATION, f"object {ref['ann_id']!r}"),
    ):
        if entry is None:
            problems.add(where, f"{what} has no entry in instances.json")
            return None
        if not _has_fields(entry, fields, inside, problems, optional):
            return None
    if annotation["image_id"] != ref["image_id"]:
        problems.add(
            where,
            f"it is on image {annotation['image_id']!r}, not on {ref['image_id']!r}",
        )
        return None
    try:
        segmentation, fault = masks.without_slivers(annotation["segmentation"])
        mask = masks.encode_segmentation(segmentation, image["height"], image["width"])
    except ValueError as error:
        problems.add(where, str(error))
        return None
    if fault:
        problems.add(where, fault)
    sentences = _sentences(ref, where, problems)
    if not sentences:
        return None
    category = instances["categories"].get(annotation.get("category_id"), {})
    if not _has_fields(category, {}, inside, problems, {"name": TEXT}):
        return None
    return ReferredObject(
        object_id=str(ref["ann_id"]),
        ref_id=str(ref["ref_id"]),
        category=category.get("name") or "",
        mask=mask,
        sentences=sentences,
    )


def _sentences(ref: dict, where: str, problems: Problems) -> tuple[Sentence, ...]:
    sentences = []
    for i, sentence in enumerate(ref["sentences"]):
        here = f"{where}, sentence {i}"
        if not _has_fields(sentence, _SENTENCE, here, problems):
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
