"""The ReferIt data set with masks, one record per image, in three forms."""

import json
import pathlib

import tensorflow_datasets as tfds

from tfds_builders.annotations import Annotations, Problems
from tfds_builders.refer.builder import ReferBuilder
from tfds_builders.referit import text_objseg

_DESCRIPTION = """
ReferIt (ReferItGame, RefCLEF): short expressions, collected in a game of two players,
for regions of IAPR TC-12 photographs, among them sky, grass and water, with the masks
of SAIAPR TC-12. text_objseg is the form that ReSTR and related work train (trainval)
and score (test) on; berkeley and unc come from the refer distribution.
"""

_CITATION = """
@inproceedings{kazemzadeh2014referitgame,
  title={{ReferItGame}: Referring to Objects in Photographs of Natural Scenes},
  author={Kazemzadeh, Sahar and Ordonez, Vicente and Matten, Mark and Berg, Tamara},
  booktitle={EMNLP},
  year={2014}
}
"""


class Builder(ReferBuilder):
    """Builds `referit` from a manual directory, whose layout README.md describes."""

    DESCRIPTION = _DESCRIPTION
    CITATION = _CITATION
    HOMEPAGE = "https://github.com/ronghanghu/text_objseg"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="text_objseg", description="train, val, trainval (both) and test"
        ),
        tfds.core.BuilderConfig(name="berkeley", description="train, val and test"),
        tfds.core.BuilderConfig(
            name="unc", description="train, val, testA, testB and testC"
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The form text_objseg needs referit/ with referit_query_*.json, referit_*_imlist.txt,
    referit_imsize.json, images/ and mask/. The forms berkeley and unc need
    refclef/refs(berkeley).p or refclef/refs(unc).p, refclef/instances.json and
    images/saiapr_tc-12/. See tfds_builders/referit/README.md.
    """
    PUBLISHED_FILES = json.loads(
        pathlib.Path(__file__).with_name("published_files.json").read_text()
    )
    FOLDER = "refclef"
    IMAGES = "images/saiapr_tc-12"
    # All three forms name an image by its number in SAIAPR TC-12.
    IMAGE_SOURCE = "saiapr"
    TEXT_OBJSEG_FOLDER = "referit"
    SPLITS = {
        "text_objseg": ("train", "val", "trainval", "test"),
        "berkeley": ("train", "val", "test"),
        "unc": ("train", "val", "testA", "testB", "testC"),
    }

    def files(self) -> tuple[str, ...]:
        """See the base class."""
        name, splits = self.partition()
        if name != "text_objseg":
            return super().files()
        folder = self.TEXT_OBJSEG_FOLDER
        return tuple(f"{folder}/{file}" for file in text_objseg.files(splits))

    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """See the base class."""
        name, splits = self.partition()
        if name != "text_objseg":
            return super().read_annotations(root, problems)
        folder = root / self.TEXT_OBJSEG_FOLDER
        return text_objseg.read_annotations(folder, splits, problems)
