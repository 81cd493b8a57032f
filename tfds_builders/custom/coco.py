"""Reads COCO's format with a list of `expressions` in each annotation.

Annotations without expressions are ignored. A null for a segmentation says that the
expressions fit nothing in the image.
"""

import difflib
import itertools
import pathlib
from collections import Counter

from tfds_builders import images, json_stream, masks
from tfds_builders.annotations import (
    AnnotatedImage,
    Problems,
    ReferredObject,
    Sentence,
    expression_fault,
)
from tfds_builders.fields import (
    ID,
    PIXELS,
    TEXT,
    InThreads,
    Kind,
    check_fields,
    check_upright,
    plain,
    without_repeats,
)
from tfds_builders.storage.paths import ManualFolder

_IMAGE = {"id": ID, "file_name": TEXT, "height": PIXELS, "width": PIXELS}
_ANNOTATION = {
    "id": ID,
    "image_id": ID,
    "segmentation": (
        (list, dict, type(None)),
        "polygons or a COCO RLE, or null if nothing fits",
    ),
    "expressions": ((list,), "a list of texts"),
}
# A box matters only where the segmentation is null.
_ANNOTATION_OPTIONAL = {"category_id": ID, "bbox": ((object,), "a box")}
_CATEGORY = {"id": ID, "name": TEXT}
# Fields of an entry that are kept while a file is read.
_KEPT = {
    "images": tuple(_IMAGE),
    "annotations": (*_ANNOTATION, *_ANNOTATION_OPTIONAL),
    "categories": tuple(_CATEGORY),
}


def read_split(
    path: pathlib.Path, root: pathlib.Path, problems: Problems, in_threads: InThreads
) -> list[AnnotatedImage]:
    """Reads a split, and the headers of the images that have expressions.

    Args:
        path: the file of the split.
        root: the manual directory; paths of images are relative to it.
        problems: receives a line for each unusable entry.
        in_threads: maps a function over many files.

    Raises:
        ValueError: if the file is not of this format, or has no expressions.
    """
    content = _read_file(path, problems)
    referred = _by_id(
        content["annotations"],
        _ANNOTATION,
        f"{path}, annotation",
        problems,
        _ANNOTATION_OPTIONAL,
    )
    entries = _by_id(content["images"], _IMAGE, f"{path}, image", problems)
    categories = _by_id(content["categories"], _CATEGORY, f"{path}, category", problems)
    listed = _ids(content["images"])
    used = {annotation["image_id"] for annotation in referred.values()}
    names = _look_at(
        [image for key, image in entries.items() if key in used],
        path,
        root,
        problems,
        in_threads,
    )
    objects: dict[str | int, list[ReferredObject]] = {key: [] for key in names}
    for key, annotation in referred.items():
        where, on = f"{path}, annotation {key}", annotation["image_id"]
        if on not in listed:
            such_as = f"with ids such as {next(iter(listed), None)!r}"
            problems.add(where, f"its image {on!r} has no entry in images, {such_as}")
        elif on in names:  # Otherwise the problem is that of its image.
            thing = _object(annotation, entries[on], categories, where, problems)
            objects[on] += [thing] if thing else []
    return [
        AnnotatedImage(
            image_id=name,
            path=root / name,
            size=(entries[key]["height"], entries[key]["width"]),
            objects=tuple(objects[key]),
        )
        for key, name in names.items()
        if objects[key]
    ]


def _read_file(path: pathlib.Path, problems: Problems) -> dict[str, list]:
    """Returns images, categories, and the annotations with expressions."""
    content: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    annotations = itertools.count()
    try:
        for part, entry in json_stream.entries(
            path, ("images", "annotations"), ("categories",), without_repeats
        ):
            if part != "annotations" or _is_referred_to(
                entry, next(annotations), path, problems
            ):
                content[part].append(_compact(entry, _KEPT[part]))
    except ValueError as error:
        raise ValueError(
            f"{path} is not in COCO's format: {error}. Every .json file in this folder "
            "is read as a split; move other files elsewhere."
        ) from error
    if not any(map(_expressions, content["annotations"])):
        raise ValueError(
            f"No annotation of {path} has expressions. Add a list of them to each "
            'referred object: "expressions": ["the red cup", ...].'
        )
    return content


def _expressions(annotation):
    return isinstance(annotation, dict) and annotation.get("expressions")


def _is_referred_to(
    annotation, place: int, path: pathlib.Path, problems: Problems
) -> bool:
    """Returns whether it has expressions; reports a misspelt field as a problem."""
    if not isinstance(annotation, dict):
        return True  # `_by_id` reports it.
    if "expressions" not in annotation:
        # Programs add fields of their own, so other unknown fields are accepted.
        for field in difflib.get_close_matches("expressions", annotation):
            what = f"unknown field {field!r}; is it 'expressions'?"
            problems.add(f"{path}, annotation {_name(annotation, place)}", what)
    return bool(_expressions(annotation))


def _compact(entry, fields: tuple[str, ...]):
    """Drops all other fields of an entry, which take most of a file."""
    if not isinstance(entry, dict):
        return entry
    kept = {field: entry[field] for field in fields if field in entry}
    if "segmentation" in kept:
        kept["segmentation"] = masks.compact(kept["segmentation"])
    return kept


def _by_id(
    entries: list,
    fields: dict[str, Kind],
    where: str,
    problems: Problems,
    optional: dict[str, Kind] | None = None,
) -> dict[str | int, dict]:
    """Checks entries, and skips all that share an id, since the id is ambiguous."""
    checked = []
    for i, entry in enumerate(entries):
        try:
            checked.append(check_fields(entry, fields, optional or {}))
        except ValueError as error:
            problems.add(f"{where} {_name(entry, i)}", str(error))
    counts = Counter(entry["id"] for entry in checked)
    for key, count in counts.items():
        if count > 1:
            problems.add(f"{where} {key}", f"{count} entries have this id")
    return {entry["id"]: entry for entry in checked if counts[entry["id"]] == 1}


def _ids(entries: list) -> dict[str | int, None]:
    """Returns the ids of all entries, usable or not, in their order."""
    ids = (plain(entry.get("id")) for entry in entries if isinstance(entry, dict))
    return dict.fromkeys(key for key in ids if isinstance(key, str | int))


def _name(entry, place: int):
    """Returns an entry's id, or "at" and its index."""
    return entry.get("id", f"at {place}") if isinstance(entry, dict) else f"at {place}"


def _look_at(
    entries: list[dict],
    path: pathlib.Path,
    root: pathlib.Path,
    problems: Problems,
    in_threads: InThreads,
) -> dict[str | int, str]:
    """Returns the paths, by id, of the images that match their entries."""
    folder = ManualFolder(root, problems.respelled)

    def look(entry: dict) -> tuple[str | int, str, str]:
        name = entry["file_name"]
        try:
            name = folder.find(name)
            images.check_size(root / name, (entry["height"], entry["width"]))
            check_upright(root / name)
        except (OSError, ValueError) as error:
            return entry["id"], name, f"{name}: {error}"
        return entry["id"], name, ""

    keys: dict[str, str | int] = {}
    for key, name, complaint in in_threads(look, entries, f"images of {path.name}"):
        if name in keys:
            complaint = f"{name} is the file of image {keys[name]} as well"
        if complaint:
            problems.add(f"{path}, image {key}", complaint)
        else:
            keys[name] = key
    return {key: name for name, key in keys.items()}


def _object(
    annotation: dict, image: dict, categories: dict, where: str, problems: Problems
) -> ReferredObject | None:
    category = annotation.get("category_id")
    mask, segmentation, fault = None, annotation["segmentation"], ""
    try:
        if segmentation is not None:
            segmentation, fault = masks.without_slivers(segmentation)
            mask = masks.encode_segmentation(
                segmentation, image["height"], image["width"]
            )
        elif isinstance(box := annotation.get("bbox"), list) and any(box):
            # Programs write null for objects that were only boxed.
            raise ValueError(
                "its segmentation is null (nothing fits), but it has a bbox; give the "
                "segmentation of the object, or remove the bbox"
            )
        if categories and category is not None and category not in categories:
            raise ValueError(
                f"its category {category!r} has no usable entry in categories, with "
                f"ids such as {next(iter(categories))!r}"
            )
    except ValueError as error:
        problems.add(where, str(error))
        return None
    if fault:
        problems.add(where, fault)
    sentences = _sentences(annotation, where, problems)
    if not sentences:
        return None
    return ReferredObject(
        object_id=str(annotation["id"]),
        ref_id=str(annotation["id"]),
        category=categories[category]["name"] if category in categories else "",
        mask=mask,
        sentences=sentences,
    )


def _sentences(
    annotation: dict, where: str, problems: Problems
) -> tuple[Sentence, ...]:
    sentences = []
    for i, expression in enumerate(annotation["expressions"]):
        fault = expression_fault(expression)
        if fault:
            problems.add(f"{where}, expression {i}", fault)
        else:
            name = f"{annotation['id']}_{i}"
            sentences.append(Sentence(name, expression.strip(), expression))
    return tuple(sentences)
