"""The builder of data sets in the layout of the `refer` distribution."""

import pathlib

from tfds_builders.annotations import Annotations, Problems
from tfds_builders.builder import ReferringBuilder
from tfds_builders.refer import annotations


class ReferBuilder(ReferringBuilder, skip_registration=True):
    """Builds one data set of the `refer` distribution, which a subclass chooses.

    Attributes:
        FOLDER: folder of the annotations below the manual directory.
        IMAGES: folder of the images below the manual directory.
    """

    FOLDER = ""
    IMAGES = "images/mscoco/images/train2014"

    def partition(self) -> tuple[str, tuple[str, ...]]:
        """Returns the partition's name in the file name of the refs, and its splits."""
        raise NotImplementedError

    def files(self) -> tuple[str, ...]:
        """See the base class."""
        name, _ = self.partition()
        return f"{self.FOLDER}/refs({name}).p", f"{self.FOLDER}/instances.json"

    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """See the base class."""
        in_refs, in_instances = (root / file for file in self.files())
        refs = annotations.read_refs(in_refs, problems)
        return annotations.make_annotations(
            refs,
            annotations.read_instances(in_instances, refs, problems),
            self.partition()[1],
            root / self.IMAGES,
            problems,
        )
