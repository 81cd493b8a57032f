"""The `shapes` data set, which is generated."""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders import images, masks, records
from tfds_builders.shapes import scenes
from tfds_builders.storage import streamed

_DESCRIPTION = """
Scenes of three or four coloured shapes on a plain or noisy ground. Every scene has the
same number of expressions, a third of each kind: by attribute ("large red circle"), by
superlative ("leftmost square") and by relation ("the circle left of the blue
triangle"). Each expression is true of exactly one object. Generated from a seed.
"""

# Splits differ by seed alone, so any number of scenes can be made of each.
_SEEDS = {"train": 1, "val": 2, "test": 3}


class Builder(streamed.StreamedBuilder):
    """Builds `shapes`; its configs differ in the number of scenes."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    SIDE = 64  # pixels, height and width of a scene
    EXPRESSIONS = 9  # expressions of a scene, a third of each kind
    SCENES = {"train": 8_000, "val": 200, "test": 500}

    def _info(self) -> tfds.core.DatasetInfo:
        return records.dataset_info(self, _DESCRIPTION, image_source="shapes")

    def needed_bytes(self) -> int:
        """See the base class; PNG does not compress the noise of half of the scenes."""
        return sum(self.SCENES.values()) * (2 * self.SIDE**2 + 2_000)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager  # Nothing to download.
        return {split: self._generate_examples(split) for split in self.SCENES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        made = (self._record(split, i) for i in range(self.SCENES[split]))
        return records.numbered(self, split, made)

    def _record(self, split: str, index: int) -> dict:
        rng = np.random.default_rng((_SEEDS[split], index))
        scene = scenes.make_scene(rng, self.SIDE, self.EXPRESSIONS)
        name = f"{split}_{index:06d}"
        return {
            "image": images.encode_png(scene.image),
            "image_id": name,
            "objects": [
                {
                    "object_id": f"{name}_{i}",
                    "ref_id": f"{name}_{i}",
                    "category": f"{shape.size} {shape.color} {shape.shape}",
                    "mask": masks.encode_mask(shape.mask(self.SIDE)),
                }
                for i, shape in enumerate(scene.shapes)
            ],
            "expressions": [
                {
                    "object": expression.target,
                    "sent_id": f"{name}_{i}",
                    "sent": expression.words,
                    "raw": expression.words,
                    "kind": expression.kind,
                }
                for i, expression in enumerate(scene.expressions)
            ],
        }
