"""Reads the `refer` distribution: pickled refs and COCO-style instances.

Layout under a manual directory, as https://github.com/lichengunc/refer unpacks it:

    <dataset>/refs(<partition>).p   referred objects and their expressions
    <dataset>/instances.json        images, objects, polygons or RLE
    images/...                      the images; `file_name` is relative to this folder

Files are untrusted. Pickles may hold only plain containers, references between the
files are checked, and each error names its entry.
"""

import pathlib
import types
from collections import Counter
from collections.abc import Mapping

from tfds_builders import json_stream, masks
from tfds_builders.annotations import Problems
from tfds_builders.fields import ID, PIXELS, TEXT, Kind, check_fields
from tfds_builders.refer import plain_pickle

# Types of fields for `check_fields`. Fields with None are checked elsewhere.
SENTENCES: Kind = (list, tuple), "a list of sentences"
_REF = {"ref_id": ID, "ann_id": ID, "image_id": ID, "split": TEXT}
_REF |= {"sentences": SENTENCES}
IMAGE = {"file_name": TEXT, "height": PIXELS, "width": PIXELS}
ANNOTATION = {"image_id": ID, "segmentation": None}
# Fields of instances.json that are kept besides ids; they may be missing.
_KEPT = {
    "images": tuple(IMAGE),
    "annotations": (*ANNOTATION, "category_id", "iscrowd"),
    "categories": ("name",),
}


def read_refs(path: pathlib.Path, problems: Problems) -> list[dict]:
    """Reads a `refs(<partition>).p` file; refs that lack fields are skipped.

    Raises:
        ValueError: if the file is not a pickle of a list, or is one of gRefCOCO.
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
    is_generalized = _is_generalized(refs)
    usable = check_refs(refs, _REF, path, problems)
    if is_generalized:
        raise ValueError(
            f"{problems.text()}\n{path} is a file of gRefCOCO, with a list of objects "
            "in each entry. Build it as the data set grefcoco, or put the file of the "
            "refer distribution here."
        )
    return usable


def check_refs(
    refs,
    fields: Mapping[str, Kind],
    path: pathlib.Path,
    problems: Problems,
    optional: Mapping[str, Kind] = types.MappingProxyType({}),
) -> list[dict]:
    """Checks the content of a file of refs; refs that lack fields are skipped.

    Args:
        refs: the content; its refs lose all other fields.
        fields: the types of the required fields.
        path: the file, for messages.
        problems: receives a line for each unusable ref.
        optional: the types of further fields to keep.

    Raises:
        ValueError: if it is not a list of refs.
    """
    if not isinstance(refs, list) or not refs:
        raise ValueError(
            f"{path} holds a {type(refs).__name__}, expected a list with at least one "
            "ref. Unpack it again from the refer distribution."
        )
    for i, ref in enumerate(refs):
        refs[i] = _slim(ref, {**fields, **optional})
    usable = [
        ref
        for i, ref in enumerate(refs)
        if has_fields(ref, fields, f"{path}, entry {i}", problems, optional)
    ]
    return _without_repeats(usable, "ref_id", str(path), problems)


def _is_generalized(refs) -> bool:
    """Returns True for gRefCOCO's refs, each of which has a list of objects."""
    refs = refs if isinstance(refs, list) else []
    objects = [ref.get("ann_id") if isinstance(ref, dict) else None for ref in refs]
    return bool(refs) and all(isinstance(x, list | tuple) for x in objects)


def _slim(ref, fields: Mapping[str, Kind]):
    """Drops the unused fields of a ref; its tokens alone take half of the memory."""
    if not isinstance(ref, dict):
        return ref
    sentences = ref.get("sentences")
    for sentence in sentences if isinstance(sentences, list | tuple) else ():
        if isinstance(sentence, dict):
            sentence.pop("tokens", None)
    return {field: ref[field] for field in fields if field in ref}


def objects_of(ref: dict) -> list[str | int]:
    """Returns the ids of the objects that a checked ref means; none if nothing fits."""
    ids = ref["ann_id"]
    return ids if isinstance(ids, list) else [ids]


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
        "annotations": {key for ref in refs for key in objects_of(ref)},
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


def has_fields(
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
