"""The builder of data sets in the layout of the `refer` distribution."""

import pathlib
from collections.abc import Mapping

import tensorflow_datasets as tfds

from tfds_builders import records
from tfds_builders.annotations import Annotations, Problems
from tfds_builders.builder import ReferringBuilder
from tfds_builders.refer import annotations, joined


class ReferBuilder(ReferringBuilder, skip_registration=True):
    """Builds one data set of the `refer` distribution, which a subclass chooses.

    Attributes:
        DESCRIPTION: description of the data set.
        CITATION: BibTeX entry of its paper.
        HOMEPAGE: its home page.
        SPLITS: the splits of each partition; the builder configs, if there are any,
            have the partitions' names.
        FOLDER: folder of the annotations below the manual directory.
        IMAGES: folder of the images below the manual directory.
        IMAGE_SOURCE: the source that names the images, see `records`.
    """

    DESCRIPTION = ""
    CITATION = ""
    HOMEPAGE = ""
    SPLITS: Mapping[str, tuple[str, ...]] = {}
    FOLDER = ""
    IMAGES = "images/mscoco/images/train2014"
    IMAGE_SOURCE = "mscoco"

    def partition(self) -> tuple[str, tuple[str, ...]]:
        """Returns the partition's name in the file name of the refs, and its splits."""
        config = self.builder_config
        name = config.name if config else next(iter(self.SPLITS))
        return name, self.SPLITS[name]

    def files(self) -> tuple[str, ...]:
        """See the base class."""
        name, _ = self.partition()
        return f"{self.FOLDER}/refs({name}).p", f"{self.FOLDER}/instances.json"

    def read_annotations(self, root: pathlib.Path, problems: Problems) -> Annotations:
        """See the base class."""
        in_refs, in_instances = (root / file for file in self.files())
        refs = annotations.read_refs(in_refs, problems)
        return joined.make_annotations(
            refs,
            annotations.read_instances(in_instances, refs, problems),
            self.partition()[1],
            root / self.IMAGES,
            problems,
        )

    def _info(self) -> tfds.core.DatasetInfo:
        return records.dataset_info(
            self,
            self.DESCRIPTION,
            image_source=self.IMAGE_SOURCE,
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
        )


class UncBuilder(ReferBuilder, skip_registration=True):
    """Builds UNC or UNC+, which one paper collected and split alike."""

    CITATION = """
    @inproceedings{yu2016modeling,
      title={Modeling Context in Referring Expressions},
      author={Yu, Licheng and Poirson, Patrick and Yang, Shan and Berg, Alexander C. and
              Berg, Tamara L.},
      booktitle={ECCV},
      year={2016}
    }
    """
    HOMEPAGE = "https://github.com/lichengunc/refer"
    SPLITS = {"unc": ("train", "val", "testA", "testB")}
