"""Reads the layout in which text_objseg published ReferIt.

Below one folder, for each split S:

    referit_query_S.json   {region: [expression, ...]}
    referit_S_imlist.txt   the images of the split, a line each, without ".jpg"
    referit_imsize.json    {image file: [width, height]}, for all splits
    images/<image>.jpg
    mask/<region>.mat      a region's mask: the object is 0

A region is named "<image>_<number>". Listed images without expressions are accepted:
the published train lists 9,000 images, and 8,995 have expressions.
"""

import json
import pathlib
import reprlib
from collections import Counter
from collections.abc import Iterable

from tfds_builders.annotations import (
    AnnotatedImage,
    Annotations,
    Problems,
    ReferredObject,
    Sentence,
    expression_fault,
    missing_files,
)

_SIZES = "referit_imsize.json"

# Expressions of a split: those of each region, by image.
Said = dict[str, dict[str, tuple[Sentence, ...]]]


def files(splits: Iterable[str]) -> tuple[str, ...]:
    """Returns the annotation files of the splits, relative to their folder."""
    return tuple(name for split in splits for name in _files_of(split)) + (_SIZES,)


def _files_of(split: str) -> tuple[str, str]:
    return f"referit_query_{split}.json", f"referit_{split}_imlist.txt"


def read_annotations(
    folder: pathlib.Path, splits: Iterable[str], problems: Problems
) -> Annotations:
    """Reads all annotations, and checks that each region has a mask file.

    Args:
        folder: the folder of all the files.
        splits: the splits to read; each has its own files.
        problems: receives a line for each unusable entry.

    Raises:
        FileNotFoundError: if there are no masks.
        ValueError: if a whole file is unusable.
    """
    said = {split: read_split(folder, split, problems) for split in splits}
    # Splits such as trainval and train share images. Check each image once.
    images = dict.fromkeys(image for of_split in said.values() for image in of_split)
    regions = dict.fromkeys(
        region
        for of_split in said.values()
        for of_image in of_split.values()
        for region in of_image
    )
    sizes = read_sizes(folder / _SIZES, images, problems)
    masks = _find_masks(folder / "mask", regions, problems)
    return {
        split: [
            AnnotatedImage(
                # Without ".jpg", as in the lists and the refer distribution, so that
                # ids are comparable between forms of the data set.
                image_id=image,
                path=folder / "images" / f"{image}.jpg",
                size=sizes[image],
                objects=objects,
            )
            for image, of_image in of_split.items()
            if image in sizes and (objects := _objects(of_image, masks))
        ]
        for split, of_split in said.items()
    }


def read_split(folder: pathlib.Path, split: str, problems: Problems) -> Said:
    """Reads the expressions of a split, but no images, sizes or masks.

    Args:
        folder: the folder of the two files of the split.
        split: "train", "val", "trainval" or "test".
        problems: receives a line for each unusable entry.

    Returns:
        The expressions of each region, by image, in the order of the list of images.

    Raises:
        ValueError: if a whole file is unusable.
    """
    query, listed = (folder / name for name in _files_of(split))
    by_image: Said = {image: {} for image in read_image_list(listed, problems)}
    for region, sentences in read_expressions(query, problems).items():
        where = f"{query}, region {region}"
        image, _, number = region.rpartition("_")
        if not image or not number:
            problems.add(where, "its name is not <image>_<number>")
        elif image not in by_image:
            problems.add(where, f"its image {image} is not in {listed.name}")
        else:
            by_image[image][region] = sentences
    return {image: of_image for image, of_image in by_image.items() if of_image}


def read_image_list(path: pathlib.Path, problems: Problems) -> list[str]:
    """Reads the images of a split, without ".jpg", from a `referit_S_imlist.txt`.

    Raises:
        ValueError: if it is not UTF-8 text, or lists no images.
    """
    try:
        counts = Counter(path.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text: {error}. Download it again."
        ) from error
    if not counts:
        raise ValueError(f"{path} lists no images. Download it again.")
    for image, count in counts.items():
        if count > 1:
            problems.add(f"{path}, image {image}", f"it is listed {count} times")
    return list(counts)


def read_expressions(
    path: pathlib.Path, problems: Problems
) -> dict[str, tuple[Sentence, ...]]:
    """Reads the expressions of each region from a `referit_query_S.json`.

    Raises:
        ValueError: if it is not a JSON object.
    """
    sentences = {}
    for region, entries in _read_object(path).items():
        where = f"{path}, region {region}"
        if len(entries) > 1:
            problems.add(where, f"it has {len(entries)} entries, expected one")
        elif not isinstance(entries[0], list) or not entries[0]:
            what = f"it has {reprlib.repr(entries[0])}, expected a list of expressions"
            problems.add(where, what)
        elif of_region := _sentences(region, entries[0], where, problems):
            sentences[region] = of_region
    return sentences


def read_sizes(
    path: pathlib.Path, images: Iterable[str], problems: Problems
) -> dict[str, tuple[int, int]]:
    """Reads (height, width) of images, without ".jpg", from `referit_imsize.json`.

    Raises:
        ValueError: if it is not a JSON object.
    """
    entries = _read_object(path)
    sizes = {}
    for image in images:
        where = f"{path}, image {image}.jpg"
        match entries.get(f"{image}.jpg", []):
            # bool is a subclass of int in Python.
            case [[int(width), int(height)] as size] if (
                width > 0 and height > 0 and bool not in map(type, size)
            ):
                sizes[image] = (height, width)
            case [other]:
                what = f"it has {reprlib.repr(other)}, expected [width, height]"
                problems.add(where, what)
            case others:
                problems.add(where, f"it has {len(others)} entries, expected one")
    return sizes


def _sentences(
    region: str, expressions: list, where: str, problems: Problems
) -> tuple[Sentence, ...]:
    sentences = []
    for i, expression in enumerate(expressions):
        fault = expression_fault(expression)
        if fault:
            problems.add(f"{where}, expression {i}", fault)
        else:
            # Thousands have a blank at an end. The tokeniser handles the rest.
            sentences.append(Sentence(f"{region}_{i}", expression.strip(), expression))
    return tuple(sentences)


def _read_object(path: pathlib.Path) -> dict[str, list]:
    """Reads a JSON object with all values of each key; valid files have one."""
    try:
        # Tuples of pairs, because a dict would keep only the last of repeated keys.
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not JSON in UTF-8: {error}. Download it again."
        ) from error
    if not isinstance(content, tuple):
        raise ValueError(
            f"{path} holds {reprlib.repr(content)}, expected a JSON object, "
            '{"name": [...], ...}. Download it again.'
        )
    values: dict[str, list] = {}
    for key, value in content:
        values.setdefault(key, []).append(value)
    return values


def _find_masks(
    folder: pathlib.Path, regions: Iterable[str], problems: Problems
) -> dict[str, pathlib.Path]:
    """Returns the mask file of each region that has one."""
    # List the folder once: 100,000 single look-ups are slow on a network disk.
    found = {path.stem: path for path in folder.glob("*.mat")}
    if not found:
        raise FileNotFoundError(missing_files([str(folder / "*.mat")]))
    for region in regions:
        if region not in found:
            problems.add(f"{folder / region}.mat", "the mask is missing")
    return found


def _objects(
    of_image: dict[str, tuple[Sentence, ...]], masks: dict[str, pathlib.Path]
) -> tuple[ReferredObject, ...]:
    return tuple(
        ReferredObject(
            object_id=region,
            ref_id=region,
            category="",
            mask=masks[region],
            sentences=sentences,
        )
        for region, sentences in of_image.items()
        if region in masks
    )
