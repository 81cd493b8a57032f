"""A user's own data set with masks, one record per image."""

import pathlib

import tensorflow_datasets as tfds

from tfds_builders import records
from tfds_builders.annotations import Annotations, Problems
from tfds_builders.builder import ReferringBuilder
from tfds_builders.custom import json_lines

_DESCRIPTION = """
Images, expressions and masks of your own, from JSON lines or COCO's format.
"""


class Builder(ReferringBuilder):
    """Builds `custom` from a manual directory, whose layout README.md describes.

    A named `tfds.core.BuilderConfig` builds custom/NAME, to keep several sets apart.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Needs images and a file of annotations for each split, train.jsonl and val.jsonl or
    train.json and val.json; see tfds_builders/custom/README.md.
    """

    def files(self) -> tuple[str, ...]:
        """Returns no files, because users choose the splits."""
        return ()

    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """See the base class; raises FileNotFoundError if there are no splits."""
        return json_lines.read_annotations(root, problems, self._in_threads)

    def _info(self) -> tfds.core.DatasetInfo:
        return records.dataset_info(self, _DESCRIPTION, image_source="custom")
