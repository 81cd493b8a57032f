"""Referring expressions made by rule from COCO-format instances."""

import dataclasses
import io
import pathlib
import threading
import zlib
from collections import Counter

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tfds_builders import images, records
from tfds_builders.annotations import AnnotatedImage, Annotations, Problems
from tfds_builders.builder import ReferringBuilder
from tfds_builders.instances import options, pasting, source, things, wording
from tfds_builders.own_entries import check_upright

_DESCRIPTION = """
Referring expressions made by a grammar from COCO-format instances. Each fits exactly
one object of its image, with a margin, or none (`kind` "nothing", `object` -1).
"""
# Bytes of a record's masks and text; bytes of a stored pixel of what is encoded anew.
_TEXT, _PIXEL = 9_000, 0.6
_JPEG_QUALITY = 92
_SCENE_TRIES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class _Planned(AnnotatedImage):
    """An image to describe, whose objects are read when its turn comes.

    Attributes:
        split: that it belongs to.
        instances: of its file.
        photograph: its entry there.
        scene: number of the scene to paste on it, or -1.
    """

    split: str
    instances: source.Instances
    photograph: source.Photograph
    scene: int = -1


class Builder(ReferringBuilder):
    """Builds instances/NAME; README.md lists its options.

    Its config is an `options.Options`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs instances_train.json and images/, or COCO's annotations/ and train2017/; see
    tfds_builders/instances/README.md.
    """

    def __init__(self, **kwargs):
        self._faults: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._paster: pasting.Paster | None = None
        self._needed = 0
        super().__init__(**kwargs)

    @property
    def _options(self) -> options.Options:
        config = self.builder_config
        if isinstance(config, options.Options):
            return config
        return options.Options(name=config.name if config else "default")

    def _info(self) -> tfds.core.DatasetInfo:
        info = records.dataset_info(self, _DESCRIPTION, image_source="instances")
        info.metadata["options"] = self._options.given()
        return info

    def files(self) -> tuple[str, ...]:
        """Returns nothing: layouts differ, and `source.find_splits` knows them."""
        return ()

    def needed_bytes(self) -> int:
        """See the base class; 0 before the check."""
        return self._needed

    def faults(self) -> list[str]:
        """See the base class; counts of what was built without."""
        with self._lock:
            return [f"{n:,} x {what}" for what, n in sorted(self._faults.items())]

    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """See the base class; objects are read image by image, later."""
        planned: Annotations = {}
        opened = []
        for folder, complete in self._options.folders().items():
            place, prefix = root / folder, "" if folder == "." else f"{folder}/"
            for split, path in source.find_splits(place).items():
                # What is scored never becomes part of a pasted scene.
                if self._options.scenes and split != "train":
                    continue
                read = source.Instances(path, place, complete, problems)
                opened.append(read)
                self._faults.update(read.faults)
                planned.setdefault(split, []).extend(
                    _Planned(prefix + p.name, p.path, p.size, (), split, read, p)
                    for p in read.photographs
                )
        if self._options.scenes:
            planned = {"train": self._plan_scenes(planned.get("train", []), opened)}
        self._needed = sum(
            _TEXT + int(_PIXEL * image.size[0] * image.size[1])
            for of_split in planned.values()
            for image in of_split
        )
        return planned

    def _plan_scenes(
        self, photographs: list[_Planned], opened: list[source.Instances]
    ) -> list[_Planned]:
        """Chooses the photograph of each scene; large sources count by their root."""
        self._paster = pasting.Paster(opened, self._options.most_area)
        fields: dict[int, list[_Planned]] = {}
        for image in photographs:
            if image.instances.complete:
                fields.setdefault(id(image.instances), []).append(image)
        if not fields:
            raise ValueError(
                "No source has a split train whose objects are all annotated; pasted "
                "scenes need photographs of one. Check --option partial."
            )
        sources = list(fields.values())
        weights = np.sqrt([len(of_source) for of_source in sources])
        scenes = []
        for number in range(self._options.scenes):
            rng = np.random.default_rng((self._options.seed, number, 1))
            of_source = sources[rng.choice(len(sources), p=weights / weights.sum())]
            below = of_source[rng.integers(len(of_source))]
            name = f"scene_{number:06d}"
            scenes.append(dataclasses.replace(below, image_id=name, scene=number))
        return scenes

    def make_record(self, image: _Planned, problems: Problems) -> dict | None:
        """See the base class; images without a describable object are skipped."""
        faults: Counter[str] = Counter()
        try:
            check_upright(image.path)
            pixels, content = images.read_pixels(image.path)
        except (OSError, ValueError) as error:
            problems.add(str(image.path), str(error))
            return None
        below = source.read_scene(image.instances, image.photograph, pixels, faults)
        pixels, scene, said = self._describe(image, pixels, below)
        if self._options.several and not _has_several(scene):
            faults["images without two objects of one class"] += 1
            said = []
        elif not said:
            faults["images without an object that can be told apart"] += 1
        with self._lock:
            self._faults.update(faults)
        if image.scene >= 0 or content is None:
            content = _encode_jpeg(pixels)
        return _record(image.image_id, content, scene, said) if said else None

    def _describe(
        self, image: _Planned, pixels: np.ndarray, scene: things.Scene
    ) -> tuple[np.ndarray, things.Scene, list[wording.Said]]:
        """Returns the pixels, pasted on or not, with their scene and expressions."""
        rng, below = self._rng(image), pixels
        most = self._options.expressions
        loose = self._options.loose and image.split == "train"
        # Some pasted scenes have no object that can be told apart.
        for _ in range(_SCENE_TRIES if image.scene >= 0 else 1):
            drawn = scene
            if image.scene >= 0:
                pixels, drawn = self._paster.paste(below, scene, rng)
            things.retire_doubtful(drawn, self._options.min_area)
            said = wording.describe(drawn, rng, most, self._options.nothing, loose)
            if said:
                break
        return pixels, drawn, said

    def _rng(self, image: _Planned) -> np.random.Generator:
        """Returns a generator that depends on the image alone, not on its turn."""
        if image.scene >= 0:
            return np.random.default_rng((self._options.seed, image.scene, 2))
        name = zlib.crc32(f"{image.split}:{image.image_id}".encode())
        return np.random.default_rng((self._options.seed, name, 0))


def _has_several(scene: things.Scene) -> bool:
    classes = Counter(thing.category for thing in scene.things if thing.target)
    return max(classes.values(), default=0) > 1


def _encode_jpeg(pixels: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="jpeg", quality=_JPEG_QUALITY)
    file.seek(0)
    return file


def _record(
    name: str, content: io.BytesIO, scene: things.Scene, said: list[wording.Said]
) -> dict:
    """Returns a record with all objects whose masks are known."""
    return {
        "image": content,
        "image_id": name,
        "objects": [
            {
                "object_id": thing.object_id,
                "ref_id": thing.object_id,
                "category": thing.category,
                "mask": thing.mask,
            }
            for thing in scene.things
        ],
        "expressions": [
            {
                "object": expression.target,
                "sent_id": f"{name}_{i}",
                "sent": expression.text,
                "raw": expression.text,
                "kind": expression.kind,
            }
            for i, expression in enumerate(said)
        ],
    }
