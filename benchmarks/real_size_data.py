"""Stand-ins of the data sets' real size, in the layouts of the builders.

Counts of images, objects and expressions are the published ones, where known. Images
are a few hundred distinct scenes of `shapes` under a texture, each hard-linked under
many names. Outlines, words and ids are made up, so scores on them are meaningless.
"""

import dataclasses
import io
import itertools
import json
import os
import pathlib
import pickle

import numpy as np
import scipy.io
from PIL import Image

from tfds_builders.shapes import scenes

IMAGES = "images/mscoco/images/train2014"
# JPEG quality, and the range of the texture's standard deviation.
_QUALITY, _TEXTURE = 90, (13.0, 28.0)
# ReferIt's sizes (height, width) and their shares of 64 images.
_REFERIT_SIZES = {(360, 480): 35, (480, 360): 19, (320, 480): 8, (480, 320): 2}


@dataclasses.dataclass(frozen=True)
class Refer:
    """The size of a data set of the `refer` distribution.

    Attributes:
        name: name for tfds_builders.prepare.
        folder: folder of its annotations.
        partition: partition in the name of the refs file.
        images: distinct images, as splits may share them.
        splits: images and objects of each split.
        expressions: mean expressions per object.
        words: mean words per expression.
    """

    name: str
    folder: str
    partition: str
    images: int
    splits: dict[str, tuple[int, int]]
    expressions: float
    words: float

    def times(self, factor: int) -> "Refer":
        """Returns a larger data set of the same kind."""
        splits = {
            split: (factor * images, factor * objects)
            for split, (images, objects) in self.splits.items()
        }
        return dataclasses.replace(self, images=factor * self.images, splits=splits)


_UNC = {
    "train": (16_994, 42_404),
    "val": (1_500, 3_811),
    "testA": (750, 1_975),
    "testB": (750, 1_810),
}
UNC = Refer("unc", "refcoco", "unc", 19_994, _UNC, 142_210 / 50_000, 3.5)
# Train and val share images: 25,799 are distinct.
_GREF = {"train": (24_698, 44_822), "val": (4_650, 5_000)}
GREF = Refer("gref/google", "refcocog", "google", 25_799, _GREF, 9_536 / 5_000, 8.5)
# Annotated objects per image, referred to or not, and points per outline.
_ANNOTATIONS, _POINTS = 10, 24
# Listed images, regions and expressions of ReferIt's splits; trainval is the first two.
_REFERIT = {
    "train": (9_000, 44_649, 54_134),
    "val": (1_000, 4_866, 5_842),
    "test": (10_000, 49_730, 60_105),
}


def write_pool(
    folder: pathlib.Path,
    number: int,
    size: tuple[int, int],
    texture: tuple[float, float] = _TEXTURE,
) -> list[pathlib.Path]:
    """Draws distinct JPEG files.

    Args:
        folder: output folder.
        number: number of files.
        size: (height, width), pixels.
        texture: least and greatest standard deviation of the texture, which makes the
            files large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    side, paths = max(size), []
    for index in range(number):
        rng = np.random.default_rng((number, height, width, index))
        scene = Image.fromarray(scenes.make_scene(rng, side // 4, 3).image)
        scene = np.asarray(scene.resize((side, side)), np.float32)
        top, left = (side - height) // 2, (side - width) // 2
        part = scene[top : top + height, left : left + width]
        part = part + rng.normal(0, rng.uniform(*texture), part.shape)
        paths.append(folder / f"{index}.jpg")
        image = Image.fromarray(np.clip(part, 0, 255).astype(np.uint8))
        image.save(paths[-1], quality=_QUALITY)
    return paths


class _Words:
    """Draws expressions of made-up words, with language-like word frequencies."""

    def __init__(self, rng: np.random.Generator, mean: float, distinct: int = 10_000):
        self._rng, self._mean = rng, mean
        syllables = ["".join(pair) for pair in itertools.product("bdfglmnrst", "aeiou")]
        self._words = ["".join(w) for w in itertools.product(syllables, repeat=3)]
        self._words = self._words[:: len(self._words) // distinct][:distinct]
        shares = 1 / np.arange(10, distinct + 10)
        self._ends = np.cumsum(shares / shares.sum())

    def draw(self) -> list[str]:
        number = 1 + self._rng.poisson(self._mean - 1)
        places = np.searchsorted(self._ends[:-1], self._rng.random(number))
        # New strings, since the published pickles share none, which costs memory.
        return [f"{self._words[place]} "[:-1] for place in places]


def write_refer(root: pathlib.Path, size: Refer, pool: list[pathlib.Path]) -> None:
    """Writes annotations and links missing images.

    Args:
        root: the manual directory.
        size: size of the data set.
        pool: image files, all of one size.
    """
    rng = np.random.default_rng(len(size.name))
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    (root / size.folder).mkdir()
    with Image.open(pool[0]) as image:
        width, height = image.size
    for number in range(1, size.images + 1):
        path = root / IMAGES / _file_name(number)
        if not path.exists():
            os.link(pool[number % len(pool)], path)
    _write_instances(root / size.folder / "instances.json", size, (height, width), rng)
    path = root / size.folder / f"refs({size.partition}).p"
    path.write_bytes(pickle.dumps(_refs(size, rng), protocol=2))


def _file_name(image: int) -> str:
    return f"COCO_train2014_{image:012d}.jpg"


def _write_instances(
    path: pathlib.Path, size: Refer, pixels: tuple[int, int], rng: np.random.Generator
) -> None:
    """Writes images and ten objects on each, incrementally."""
    height, width = pixels
    url = "http://images.cocodataset.org/train2014/"
    images = (
        {
            "license": 1 + number % 8,
            "file_name": _file_name(number),
            "coco_url": url + _file_name(number),
            "height": height,
            "width": width,
            "date_captured": "2013-11-14 11:18:45",
            "flickr_url": f"http://farm5.staticflickr.com/4127/{number:010d}_z.jpg",
            "id": number,
        }
        for number in range(1, size.images + 1)
    )
    annotations = (
        annotation
        for image in range(1, size.images + 1)
        for annotation in _annotations(image, pixels, rng)
    )
    categories = [{"supercategory": "thing", "id": i, "name": f"thing {i}"}
                  for i in range(1, 81)]  # fmt: skip
    with path.open("w") as file:
        file.write('{"info": {"year": 2014}, "images": [')
        _write_list(file, images)
        file.write('], "licenses": [], "annotations": [')
        _write_list(file, annotations)
        file.write(f'], "categories": {json.dumps(categories)}}}')


def _write_list(file: io.TextIOBase, entries) -> None:
    for place, entry in enumerate(entries):
        file.write(", " * bool(place) + json.dumps(entry))


def _annotations(
    image: int, pixels: tuple[int, int], rng: np.random.Generator
) -> list[dict]:
    """Returns the objects of an image, each a wavy outline."""
    height, width = pixels
    shape = _ANNOTATIONS, _POINTS
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    radii = rng.uniform(0.04, 0.3, (_ANNOTATIONS, 1)) * height
    radii = radii * rng.uniform(0.7, 1.3, shape)
    centers = rng.uniform(0.1, 0.9, (_ANNOTATIONS, 2)) * (width, height)
    directions = np.stack([np.cos(angles), np.sin(angles)], -1)
    outlines = centers[:, None] + radii[..., None] * directions
    outlines = np.clip(outlines, 0, (width, height)).round(2)
    return [
        {
            "segmentation": [outline.ravel().tolist()],
            "area": round(float(np.ptp(outline, 0).prod()), 4),
            "iscrowd": 0,
            "image_id": image,
            "bbox": [*outline.min(0).tolist(), *np.ptp(outline, 0).round(2).tolist()],
            "category_id": 1 + place,
            "id": image * 100 + place,
        }
        for place, outline in enumerate(outlines)
    ]


def _refs(size: Refer, rng: np.random.Generator) -> list[dict]:
    """Returns the refs of all splits; each split has its own refs on shared images."""
    words, refs, said = _Words(rng, size.words), [], 0
    first = dict.fromkeys(size.splits, 0)
    place = 0
    for split, (images, _) in size.splits.items():
        # The last split ends with the last image, so it may share some.
        first[split] = min(place, size.images - images)
        place += images
    taken: dict[int, int] = {}
    for split, (images, objects) in size.splits.items():
        for number in range(objects):
            image = 1 + first[split] + number % images
            place = taken[image] = taken.get(image, -1) + 1
            sentences = []
            while said < (len(refs) + 1) * size.expressions:
                tokens = words.draw()
                text = " ".join(tokens)
                sentences.append(
                    {
                        "tokens": tokens,
                        "raw": text.capitalize(),
                        "sent_id": said,
                        "sent": text,
                    }
                )
                said += 1
            refs.append(
                {
                    "sent_ids": [sentence["sent_id"] for sentence in sentences],
                    "file_name": _file_name(image),
                    "ann_id": image * 100 + place,
                    "ref_id": len(refs),
                    "image_id": image,
                    "split": split,
                    "sentences": sentences,
                    "category_id": 1 + place,
                }
            )
    return refs


def write_referit(root: pathlib.Path) -> None:
    """Writes ReferIt in text_objseg's layout, with its images and mask files.

    Args:
        root: the manual directory.
    """
    rng = np.random.default_rng(0)
    pool = [
        (size, path)
        for size, share in _REFERIT_SIZES.items()
        for path in write_pool(root / "pool" / f"{size}", 2 * share, size)
    ]
    pool = [pool[place] for place in rng.permutation(len(pool))]
    masks = {size: _write_masks(root / "pool", size) for size in _REFERIT_SIZES}
    folder, words = root / "referit", _Words(rng, 3.54)
    for inside in ("images", "mask"):
        (folder / inside).mkdir(parents=True)
    sizes, listed, said, number = {}, {}, {}, 0
    for split, (images, regions, expressions) in _REFERIT.items():
        listed[split] = [str(number + i) for i in range(images)]
        said[split] = {}
        for place, image in enumerate(listed[split]):
            (height, width), file = pool[(number + place) % len(pool)]
            os.link(file, folder / "images" / f"{image}.jpg")
            sizes[f"{image}.jpg"] = [width, height]
        for region in range(regions):
            image = listed[split][region % images]
            name, place = f"{image}_{region // images + 1}", region % len(pool)
            ends = [expressions * (region + i) // regions for i in (0, 1)]
            said[split][name] = [" ".join(words.draw()) for _ in range(*ends)]
            mask = masks[tuple(sizes[f"{image}.jpg"][::-1])][place]
            os.link(mask, folder / "mask" / f"{name}.mat")
        number += images
    listed["trainval"] = listed["train"] + listed["val"]
    said["trainval"] = said["train"] | said["val"]
    (folder / "referit_imsize.json").write_text(json.dumps(sizes))
    for split, names in listed.items():
        (folder / f"referit_{split}_imlist.txt").write_text("\n".join(names) + "\n")
        (folder / f"referit_query_{split}.json").write_text(json.dumps(said[split]))


def _write_masks(folder: pathlib.Path, size: tuple[int, int]) -> list[pathlib.Path]:
    """Writes mask files of one size, in which the object is 0."""
    rng, paths = np.random.default_rng(size), []
    y, x = np.mgrid[: size[0], : size[1]]
    for index in range(128):
        center, waves = rng.uniform(0.2, 0.8, 2) * size, rng.integers(3, 12)
        angles = np.arctan2(y - center[0], x - center[1])
        radius = rng.uniform(20, 150) * (1 + 0.3 * np.sin(waves * angles))
        inside = np.hypot(y - center[0], x - center[1]) < radius
        paths.append(folder / f"{size[0]}-{size[1]}-{index}.mat")
        values = np.where(inside, 0, -1).astype(np.int16)
        scipy.io.savemat(paths[-1], {"segimg_t": values}, do_compression=True)
    return paths
