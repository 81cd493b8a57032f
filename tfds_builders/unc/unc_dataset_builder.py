"""The UNC data set (RefCOCO) with masks, one record per image."""

import tensorflow_datasets as tfds

from tfds_builders import records
from tfds_builders.refer.builder import ReferBuilder

_DESCRIPTION = """
UNC (RefCOCO) in the unc partition: short expressions, collected in a game of two
players, for objects of MS COCO train2014 images, with COCO's masks. testA holds images
of several people, testB of several objects of another kind. The splits share no image.
"""

_CITATION = """
@inproceedings{yu2016modeling,
  title={Modeling Context in Referring Expressions},
  author={Yu, Licheng and Poirson, Patrick and Yang, Shan and Berg, Alexander C. and
          Berg, Tamara L.},
  booktitle={ECCV},
  year={2016}
}
"""


class Builder(ReferBuilder):
    """Builds `unc` from a manual directory, whose layout README.md describes."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs refcoco/refs(unc).p, refcoco/instances.json and
    images/mscoco/images/train2014/; see tfds_builders/unc/README.md.
    """
    FOLDER = "refcoco"

    def partition(self) -> tuple[str, tuple[str, ...]]:
        """See the base class."""
        return "unc", ("train", "val", "testA", "testB")

    def _info(self) -> tfds.core.DatasetInfo:
        return records.dataset_info(
            self,
            _DESCRIPTION,
            image_source="mscoco",
            homepage="https://github.com/lichengunc/refer",
            citation=_CITATION,
        )
