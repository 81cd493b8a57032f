"""Estimates the disk space of a build before it starts."""

import os
import pathlib
import shutil
from collections.abc import Mapping

from tfds_builders.annotations import AnnotatedImage, Annotations, ReferredObject

# Bytes of a record besides its image, masks and text; of an object; of an expression.
_RECORD, _OBJECT, _EXPRESSION = 700, 100, 100
# Bytes of the RLE of a mask that is still in its own file; of a split, whose last file
# is padded.
_MASK, _SPLIT = 1_000, 150_000


def needed_bytes(
    annotations: Annotations, image_bytes: Mapping[pathlib.Path, int]
) -> int:
    """Returns an upper bound of the bytes of a built data set.

    Args:
        annotations: all annotations.
        image_bytes: the bytes of each image.
    """
    return sum(
        _SPLIT + sum(image_bytes[image.path] + _besides(image) for image in of_split)
        for of_split in annotations.values()
    )


def _besides(image: AnnotatedImage) -> int:
    return _RECORD + sum(map(_of_object, image.objects))


def _of_object(thing: ReferredObject) -> int:
    mask = _MASK if isinstance(thing.mask, pathlib.Path) else len(thing.mask or "")
    # The metadata repeat the expressions.
    said = sum(
        _EXPRESSION + len((2 * s.sent + s.raw + s.sent_id).encode())
        for s in thing.sentences
    )
    return _OBJECT + mask + said


def check_room(folder: str | os.PathLike, needed: Mapping[str, int]) -> None:
    """Checks that the disk has room for data sets.

    Args:
        folder: parent folder of the data sets; may not exist yet.
        needed: the bytes of each data set.

    Raises:
        OSError: if the disk has too little free space.
    """
    place = pathlib.Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free, total = shutil.disk_usage(place).free, sum(needed.values())
    if total > free:
        raise OSError(
            f"{place} has {_in_mb(free)} free, but {', '.join(needed)} take about "
            f"{_in_mb(total)}. Free some disk space or choose another data_dir, then "
            "rerun the same command."
        )


def _in_mb(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
