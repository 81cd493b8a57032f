"""Opens built data sets for a check or a report."""

import os
from collections.abc import Sequence

import tensorflow_datasets as tfds


class Built:
    """A built data set.

    Attributes:
        name: its folder in the data_dir: "unc", "gref/google".
        folder: its full path.
        info: its tfds.core.DatasetInfo.
        metadata: the lists that `records` describes.
    """

    def __init__(self, data_dir: str, name: str):
        """Opens a built data set.

        Raises:
            FileNotFoundError: if it has not been built.
            ValueError: if it is damaged, or another program built it.
        """
        parent = os.path.join(data_dir, name)
        names = os.listdir(parent) if os.path.isdir(parent) else []
        versions = [n for n in names if tfds.core.Version.is_valid(n)]
        if not versions:
            raise FileNotFoundError(
                f"There is no data set {name!r} in {data_dir!r}; build it first. The "
                "name of a set of several forms includes the form, as in gref/google."
            )
        self.name = name
        self.folder = os.path.join(parent, max(versions, key=tfds.core.Version))
        try:
            self._builder = tfds.builder_from_directory(self.folder)
            self.info = self._builder.info
            self.metadata = self.info.metadata or {}
        except Exception as error:  # TFDS, protobuf and JSON raise many types.
            raise ValueError(
                f"{self.folder} is damaged ({error}). Remove this folder and build the "
                "data set again."
            ) from error
        if "image_ids" not in self.metadata:
            raise ValueError(
                f"{self.folder} was not built by tfds_builders.prepare: its metadata "
                "lists no images. Remove this folder and build the data set again."
            )

    def records(self, split: str) -> Sequence[dict]:
        """Returns the records of a split, with images as encoded bytes."""
        return self._builder.as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the images, objects and expressions of each split."""
        return {
            split: {
                "images": len(self.metadata["image_ids"][split]),
                "objects": sum(self.metadata["num_objects"][split]),
                "expressions": sum(map(len, self.metadata["sentences"][split])),
            }
            for split in self.info.splits
        }

    def images(self, split: str) -> list[str]:
        """Returns "image source/image id" of each record."""
        source = self.metadata["image_source"]
        return [f"{source}/{image}" for image in self.metadata["image_ids"][split]]
