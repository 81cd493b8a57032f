"""The gRefCOCO data set with masks, one record per image."""

import pathlib

import tensorflow_datasets as tfds

from tfds_builders.annotations import Annotations, Problems
from tfds_builders.refer import annotations, generalized, joined
from tfds_builders.refer.builder import ReferBuilder

_DESCRIPTION = """
gRefCOCO: expressions for one object, several objects, or none, on the MS COCO train2014
images of UNC (RefCOCO), with COCO's masks. The mask of several objects is their union.
"""

_CITATION = """
@inproceedings{liu2023gres,
  title={{GRES}: Generalized Referring Expression Segmentation},
  author={Liu, Chang and Ding, Henghui and Jiang, Xudong},
  booktitle={CVPR},
  year={2023}
}
"""
# Withheld from the first release.
_LATER = {"testA", "testB"}


class Builder(ReferBuilder):
    """Builds `grefcoco` from a manual directory, whose layout README.md describes."""

    DESCRIPTION = _DESCRIPTION
    CITATION = _CITATION
    HOMEPAGE = "https://github.com/henghuiding/gRefCOCO"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs grefcoco/grefs(unc).json, grefcoco/instances.json and
    images/mscoco/images/train2014/; see tfds_builders/grefcoco/README.md.
    """
    FOLDER = "grefcoco"
    SPLITS = {"unc": ("train", "val", "testA", "testB")}

    _silent = 0

    def files(self) -> tuple[str, ...]:
        """See the base class."""
        name, _ = self.partition()
        return f"{self.FOLDER}/grefs({name}).json", f"{self.FOLDER}/instances.json"

    def faults(self) -> list[str]:
        """See the base class."""
        silent = f"{self._silent} refs without sentences, which say nothing"
        return [silent] if self._silent else []

    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """See the base class."""
        in_refs, in_instances = (root / file for file in self.files())
        every = generalized.read_refs(in_refs, problems)
        # The published file has such refs; the authors' loader reads past them, too.
        refs = [ref for ref in every if ref["sentences"]]
        self._silent = len(every) - len(refs)
        instances = annotations.read_instances(in_instances, refs, problems)
        generalized.drop_crowds(refs, instances)
        splits, found = set(self.partition()[1]), {ref["split"] for ref in refs}
        if not found & _LATER:
            splits -= _LATER
        return joined.make_annotations(
            refs,
            instances,
            tuple(split for split in self.partition()[1] if split in splits),
            root / self.IMAGES,
            problems,
        )
