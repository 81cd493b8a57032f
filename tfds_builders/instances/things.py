"""Objects of an image as the grammar uses them: boxes, areas, colours.

Lengths are shares of the image's sides, with x to the right and y downwards. Areas are
shares of the image. Margins thus hold at any size.
"""

import dataclasses
import functools

import numpy as np
from pycocotools import mask as mask_util
from scipy import ndimage

from tfds_builders.instances import colours as painted
from tfds_builders.instances import names

# Two masks of one class may be the same object, annotated twice. They are suspect above
# these shares of the smaller mask and of the union. Masks may be divided in the wrong
# place if they touch along more than the third share of the smaller one's outline.
_CONTAINED, _SAME, _TOUCHING = 0.7, 0.3, 0.25


@dataclasses.dataclass(slots=True)
class Thing:
    """One annotated object.

    Attributes:
        object_id: the source's name of the annotation.
        category: its class, as `names.canonical` spells it.
        mask: COCO's compressed RLE.
        box: (left, top, right, bottom).
        center: (x, y), the mean of its pixels.
        area: area of its mask.
        colours: its measured colours.
        target: whether it may get expressions; others count only for ambiguity.
    """

    object_id: str
    category: str
    mask: str
    box: tuple[float, float, float, float]
    center: tuple[float, float]
    area: float
    colours: painted.Colours = painted.UNKNOWN
    target: bool = True


@dataclasses.dataclass(slots=True)
class Scene:
    """The annotated objects of one image.

    Attributes:
        size: (height, width), pixels.
        things: the objects that have masks.
        blocked: classes of regions whose objects are not separate, never named.
        complete: classes annotated wherever they occur.
        pasted: whether objects were pasted, so that none stands on another.
    """

    size: tuple[int, int]
    things: list[Thing]
    blocked: frozenset[str] = frozenset()
    complete: frozenset[str] = frozenset()
    pasted: bool = False

    def mask(self, index: int) -> np.ndarray:
        """Decodes the mask of a thing, bool [H, W]."""
        coded = {"size": list(self.size), "counts": self.things[index].mask}
        return mask_util.decode(coded).astype(bool)


def measure(
    object_id: str,
    category: str,
    mask: np.ndarray,
    counts: str,
    image: np.ndarray,
    coloured: bool = True,
) -> Thing:
    """Measures an object.

    Args:
        object_id: the source's name of it.
        category: its class.
        mask: bool [H, W] with at least one pixel.
        counts: the same mask as RLE.
        image: uint8 [H, W, 3].
        coloured: whether the image shows colours that can be measured.
    """
    height, width = mask.shape
    in_rows, in_columns = mask.sum(1), mask.sum(0)
    rows, columns = np.flatnonzero(in_rows), np.flatnonzero(in_columns)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    pixels = int(in_rows.sum())
    crop = np.s_[top:bottom, left:right]
    return Thing(
        object_id=object_id,
        category=category,
        mask=counts,
        box=(left / width, top / height, right / width, bottom / height),
        center=(
            float(columns @ in_columns[columns] / pixels + 0.5) / width,
            float(rows @ in_rows[rows] / pixels + 0.5) / height,
        ),
        area=pixels / (height * width),
        colours=(
            painted.measure(image[crop], mask[crop], category)
            if coloured
            else painted.UNKNOWN
        ),
    )


def retire_doubtful(scene: Scene, min_area: float) -> None:
    """Unsets `target` of objects that are tiny, duplicated or badly separated."""
    for thing in scene.things:
        thing.target &= thing.area >= min_area
    mask = functools.cache(scene.mask)
    for i, one in enumerate(scene.things):
        for j in range(i):
            other = scene.things[j]
            # Skip pairs without a target or without overlap.
            if not (one.target or other.target) or not _boxes_meet(one, other):
                continue
            if names.fits(one.category, other.category) and _doubtful(mask(i), mask(j)):
                one.target = other.target = False


def _doubtful(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether two masks, bool [H, W], may belong to one object."""
    shared = int((one & other).sum())
    least, either = int(min(one.sum(), other.sum())), int((one | other).sum())
    if shared > _CONTAINED * least or shared > _SAME * either:
        return True
    small, large = sorted((one, other), key=np.sum)
    rim = small & ~ndimage.binary_erosion(small)
    near = ndimage.binary_dilation(large)
    return int((rim & near).sum()) > _TOUCHING * int(rim.sum())


def _boxes_meet(one: Thing, other: Thing) -> bool:
    return all(
        one.box[k] <= other.box[k + 2] and other.box[k] <= one.box[k + 2]
        for k in (0, 1)
    )
