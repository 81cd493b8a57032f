"""Reads gRefCOCO's refs: expressions that mean one object, several, or none.

They are a list in JSON, of the fields of the `refer` distribution, except

    ann_id     the list of all objects that the expressions mean; [-1] if nothing fits
    no_target  true if nothing fits
"""

import pathlib
import reprlib

from tfds_builders.annotations import Problems
from tfds_builders.fields import FLAG, ID, TEXT, Kind, parse_json
from tfds_builders.refer import annotations

_OBJECTS: Kind = (list, int), "a list of objects, or [-1] if nothing fits"
_REF = {"ref_id": ID, "ann_id": _OBJECTS, "image_id": ID, "split": TEXT}
_REF |= {"sentences": annotations.SENTENCES}
_NOTHING = -1


def read_refs(path: pathlib.Path, problems: Problems) -> list[dict]:
    """Reads a `grefs(<partition>).json` file; unusable refs are skipped.

    Returns:
        The refs. `ann_id` is the list of their objects, empty if nothing fits.

    Raises:
        ValueError: if the file is not a list of refs.
    """
    try:
        refs = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is not a list of refs: {error}. Download it again from gRefCOCO."
        ) from error
    flag = {"no_target": FLAG}
    refs = annotations.check_refs(refs, _REF, path, problems, flag)
    usable = []
    for ref in refs:
        objects = annotations.objects_of(ref)
        fault = _fault(objects, ref.get("no_target"))
        if fault:
            problems.add(f"{path}, ref {ref['ref_id']}", fault)
        else:
            found = [] if objects == [_NOTHING] else list(dict.fromkeys(objects))
            usable.append(ref | {"ann_id": found})
    return usable


def _fault(objects: list, no_target: bool | None) -> str:
    """Returns an error message for the objects of a ref, or ""."""
    is_nothing, found = objects == [_NOTHING], reprlib.repr(objects)
    whole = all(type(key) is int and _NOTHING <= key < 2**63 for key in objects)
    if not objects or not whole or (_NOTHING in objects and not is_nothing):
        return f"its ann_id is {found}, expected {_OBJECTS[1]}"
    if no_target is not None and no_target != is_nothing:
        return f"its no_target is {no_target}, but its ann_id is {found}"
    return ""


def drop_crowds(refs: list[dict], instances: dict[str, dict]) -> None:
    """Drops the crowds among the several objects of a ref, as the authors' loader does.

    A crowd is one annotation of many objects, such as the people in the stands.
    """
    entries = instances["annotations"]
    for ref in refs:
        single = [k for k in ref["ann_id"] if not entries.get(k, {}).get("iscrowd")]
        ref["ann_id"] = single or ref["ann_id"]
