"""The UNC data set (RefCOCO) with masks, one record per image."""

import tensorflow_datasets as tfds

from tfds_builders.refer.builder import UncBuilder

_DESCRIPTION = """
UNC (RefCOCO) in the unc partition: short expressions, collected in a game of two
players, for objects of MS COCO train2014 images, with COCO's masks. testA holds images
of several people, testB of several objects of another kind. The splits share no image.
"""


class Builder(UncBuilder):
    """Builds `unc` from a manual directory, whose layout README.md describes."""

    DESCRIPTION = _DESCRIPTION
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs refcoco/refs(unc).p, refcoco/instances.json and
    images/mscoco/images/train2014/; see tfds_builders/unc/README.md.
    """
    FOLDER = "refcoco"
