"""A data set for speed measurements: crops of photographs with made-up masks.

It costs as much time as MS COCO: 640 x 480 pixels, JPEG files of about 160 KB, about
three objects per image with about 2.8 expressions each. Its masks and expressions are
meaningless.
"""

import io
import itertools
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tfds_builders import images, masks, records

_SIZE = (480, 640)  # height, width of an image, pixels
_WORDS = "the man on left in a red shirt woman right with blue hat of dog near".split()


class Photographs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builds the data set; the manual directory is a folder of JPEG files."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Any folder of JPEG files."
    IMAGES = 400
    QUALITY = 96  # JPEG quality; makes files as large as COCO's on average

    def _info(self) -> tfds.core.DatasetInfo:
        return records.dataset_info(self, __doc__, image_source="photographs")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        folder = pathlib.Path(dl_manager.manual_dir)
        files = sorted(folder.rglob("*.jp*g"))
        if not files:
            raise FileNotFoundError(f"No JPEG file under {folder}; choose another.")
        return {"train": self._generate_examples(files)}

    def _generate_examples(
        self, files: list[pathlib.Path]
    ) -> Iterator[tuple[int, dict]]:
        rng = np.random.default_rng(0)
        chosen = itertools.islice(itertools.cycle(files), self.IMAGES)
        made = (self._record(str(n), path, rng) for n, path in enumerate(chosen))
        return records.numbered(self, "train", made)

    def _record(self, name: str, path: pathlib.Path, rng: np.random.Generator) -> dict:
        objects, expressions = [], []
        for place in range(rng.integers(1, 6)):
            objects.append(
                {
                    "object_id": f"{name}_{place}",
                    "ref_id": f"{name}_{place}",
                    "category": "",
                    "mask": masks.encode_segmentation([_polygon(rng)], *_SIZE),
                }
            )
            for _ in range(rng.choice([2, 3, 4], p=[0.35, 0.5, 0.15])):
                words = rng.choice(_WORDS, rng.integers(1, 12))
                sentence = " ".join(words)
                expressions.append(
                    {
                        "object": place,
                        "sent_id": f"{name}_{len(expressions)}",
                        "sent": sentence,
                        "raw": sentence,
                        "kind": "",
                    }
                )
        return {
            "image": _crop(path, rng, self.QUALITY),
            "image_id": name,
            "objects": objects,
            "expressions": expressions,
        }


def _crop(path: pathlib.Path, rng: np.random.Generator, quality: int) -> io.BytesIO:
    """Crops a random part of a photograph and re-encodes it."""
    with Image.open(path) as image:
        share = rng.uniform(0.8, 1.0)  # of the largest part of this shape
        scale = share * min(image.width / _SIZE[1], image.height / _SIZE[0])
        width, height = scale * _SIZE[1], scale * _SIZE[0]
        left = rng.uniform(0, image.width - width)
        top = rng.uniform(0, image.height - height)
        part = Image.fromarray(images.to_rgb(image)).resize(
            (_SIZE[1], _SIZE[0]),
            Image.Resampling.BICUBIC,
            box=(left, top, left + width, top + height),
        )
    file = io.BytesIO()
    part.save(file, format="jpeg", quality=quality)
    file.seek(0)
    return file


def _polygon(rng: np.random.Generator) -> list[float]:
    """Returns x, y, x, y, ... of a wavy outline of 24 points inside the image."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = rng.uniform(20, 150) * rng.uniform(0.7, 1.3, 24)
    center = rng.uniform((40, 40), (_SIZE[1] - 40, _SIZE[0] - 40))
    points = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.clip(points, 0, (_SIZE[1], _SIZE[0])).ravel().tolist()
