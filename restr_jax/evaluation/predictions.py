"""Reads the predictions of any system: JSON lines, or a folder of mask files.

A prediction is a dict with `sent_id` and some of

    mask            an RLE {"size", "counts"} at the size of the image
    stretched_mask  an RLE at the size of the system's own, stretched input
    file            the PNG or .npy file of its mask, of either size
"""

import pathlib
import reprlib

import numpy as np
from PIL import Image

from restr_jax.data import preprocess
from restr_jax.files import named
from tfds_builders import images
from tfds_builders.fields import ID, TEXT, Kind, check_fields, parse_json

_SUFFIXES = (".png", ".npy")
_RLE: Kind = (dict,), '{"size": [height, width], "counts": ...}'
_MASKS = {"mask": _RLE, "stretched_mask": _RLE}


def find(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the sets of predictions at a path: files of lines, or a folder of masks.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if a folder has both.
    """
    lines, masks = [path] if path.is_file() else [], []
    if path.is_dir():
        # Names such as "._unc.jsonl" belong to the system.
        lines = sorted(p for p in path.glob("*.jsonl") if p.name[0] != ".")
        masks = _mask_files(path)
    if lines and masks:
        raise ValueError(
            f"{path} has predictions in {lines[0].name} and in {masks[0].name}; keep "
            "JSON lines and mask files in folders of their own."
        )
    if not lines and not masks:
        raise FileNotFoundError(
            f"No predictions (*.jsonl) at {path}; set --predictions to a .jsonl file, "
            "to a folder of them, or to a folder of masks, SENT_ID.png or SENT_ID.npy."
        )
    return lines or [path]


def _mask_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    )


def read(path: pathlib.Path) -> list[dict]:
    """Reads one set of predictions; blank lines are skipped.

    Raises:
        ValueError: if lines are not predictions; all of them are counted.
    """
    if path.is_dir():
        return [{"sent_id": file.stem, "file": file} for file in _mask_files(path)]
    found, faults = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(_checked(line))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        raise ValueError(
            f"{path}: {len(faults)} lines are not predictions with sent_id and mask: "
            f"{named(faults, '; ')}. Fix these lines."
        )
    if not found:
        raise ValueError(
            f"{path} has no predictions; it needs one JSON line per expression."
        )
    return found


def _checked(line: bytes) -> dict:
    entry = parse_json(line)
    fields = check_fields(entry, {"sent_id": ID}, {"split": TEXT, **_MASKS})
    masks = [field for field in _MASKS if field in fields]
    if not masks:
        raise ValueError("it has neither mask nor stretched_mask")
    for field in masks:
        lacking = [part for part in ("size", "counts") if part not in fields[field]]
        if lacking:
            raise ValueError(f"its {field} lacks {', '.join(lacking)}")
    return fields | {"threshold": entry.get("threshold")}


def masks_of(
    prediction: dict, size: tuple[int, int], stretch: tuple[int, int] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns the mask at the image's size, and the system's own stretched mask.

    Args:
        prediction: the prediction.
        size: (height, width) of the image.
        stretch: (height, width) at which a mask file may be the stretched mask; None if
            only masks at the image's size are of use.

    Returns:
        Two boolean masks [H, W], or None in place of one that is not given.

    Raises:
        ValueError: if a mask is unreadable or of another size.
    """
    name = str(prediction["sent_id"])
    if "file" in prediction:
        mask = _read_file(prediction["file"], size, stretch)
        return (mask, None) if mask.shape == size else (None, mask)
    own = prediction.get("stretched_mask")
    small = None if own is None else _decode(own, name)
    if "mask" not in prediction:
        if stretch is None:
            raise ValueError(
                f"The prediction of expression {name} has a stretched_mask only, but "
                "this convention needs its mask at the size of the image, too. Add it, "
                "or use --convention=lavt."
            )
        return None, small
    if prediction["mask"]["size"] != list(size):
        raise ValueError(_wrong_size(name, prediction["mask"]["size"], size))
    return _decode(prediction["mask"], name), small


def _wrong_size(name: str, found, size: tuple[int, int]) -> str:
    return (
        f"The mask of expression {name} is {reprlib.repr(found)} pixels (height, "
        f"width), but its image is {list(size)}; resize the mask to its image."
    )


def _decode(rle: dict, name: str) -> np.ndarray:
    try:
        size, counts = rle["size"], rle["counts"]
        if not isinstance(size, list) or len(size) != 2:
            raise ValueError(f"its size is {reprlib.repr(size)}")
        if not all(type(side) is int and side > 0 for side in size):
            raise ValueError(f"its size is {reprlib.repr(size)}")
        if images.is_too_large(*size):
            raise ValueError(f"{size[0]} x {size[1]} pixels are too many")
        runs = counts if isinstance(counts, list) else []
        if not isinstance(counts, str | list) or any(type(x) is not int for x in runs):
            raise ValueError(f"its counts are {reprlib.repr(counts)}")
        return preprocess.decode_mask(counts, tuple(size))
    except ValueError as error:
        raise ValueError(
            f"The mask of expression {name} is not an RLE: {error}."
        ) from error


def _read_file(
    path: pathlib.Path, size: tuple[int, int], stretch: tuple[int, int] | None
) -> np.ndarray:
    """Reads a mask: every value that is not 0, of two values at most."""
    try:
        if path.suffix.lower() == ".npy":
            # Mapped, so that a header of any size takes no memory.
            pixels = np.load(path, mmap_mode="r", allow_pickle=False)
            shape = pixels.shape
        else:
            pixels, shape = None, images.read_size(path)
    except Exception as error:  # NumPy and Pillow raise many types on damaged files.
        raise ValueError(f"{path} is not a mask: {error}.") from error
    if shape not in (size, stretch):
        raise ValueError(f"{path}: {_wrong_size(path.stem, list(shape), size)}")
    try:
        if pixels is None:
            with Image.open(path) as image:
                pixels, bands = np.asarray(image), image.getbands()
            if bands[-1] == "A":  # Editors draw masks on a transparent background.
                pixels = pixels[..., :-1] * (pixels[..., -1:] != 0)
            pixels = pixels.max(axis=-1) if pixels.ndim == 3 else pixels
        values = np.unique(pixels)
    except Exception as error:
        raise ValueError(f"{path} is not a mask: {error}.") from error
    if pixels.dtype.kind not in "biuf" or len(values) > 2 or not np.all(values >= 0):
        raise ValueError(
            f"{path} is not a mask: it has {len(values)} different values, expected 0 "
            "and one other. Write the thresholded mask."
        )
    if len(values) == 2 and values[0] != 0:
        raise ValueError(
            f"{path} is not a mask: its values are {values[0]} and {values[1]}, "
            "expected 0 and one other."
        )
    return np.asarray(pixels) != 0
