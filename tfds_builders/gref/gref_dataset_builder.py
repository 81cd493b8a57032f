"""The Gref data set (RefCOCOg) with masks, one record per image."""

import tensorflow_datasets as tfds

from tfds_builders.refer.builder import ReferBuilder

_DESCRIPTION = """
Gref (Google RefExp, RefCOCOg): long expressions for objects of MS COCO train2014
images, with COCO's masks. ReSTR is trained and scored on the google partition, which
was drawn by object, so that its train and val share images; umd was drawn by image.
"""

_CITATION = """
@inproceedings{mao2016generation,
  title={Generation and Comprehension of Unambiguous Object Descriptions},
  author={Mao, Junhua and Huang, Jonathan and Toshev, Alexander and Camburu, Oana and
          Yuille, Alan and Murphy, Kevin},
  booktitle={CVPR},
  year={2016}
}
"""


class Builder(ReferBuilder):
    """Builds `gref` from a manual directory, whose layout README.md describes."""

    DESCRIPTION = _DESCRIPTION
    CITATION = _CITATION
    HOMEPAGE = "https://github.com/mjhucla/Google_Refexp_toolbox"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="google", description="train and val"),
        tfds.core.BuilderConfig(name="umd", description="train, val and test"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs refcocog/refs(google).p or refcocog/refs(umd).p, refcocog/instances.json and
    images/mscoco/images/train2014/; see tfds_builders/gref/README.md.
    """
    FOLDER = "refcocog"
    SPLITS = {"google": ("train", "val"), "umd": ("train", "val", "test")}
