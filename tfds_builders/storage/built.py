"""Built data sets on disk."""

import difflib
import os
import pathlib
from collections.abc import Sequence

import tensorflow_datasets as tfds

from tfds_builders.storage.paths import typed

# The data sets with a builder, and those among them that need no downloaded files.
_BUILDERS = {
    path.parent.name
    for path in pathlib.Path(__file__).parents[1].glob("*/*_dataset_builder.py")
}
_DRAWN = {"shapes"}


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
            ValueError: if it has several forms, is damaged, or was built by another
                program.
        """
        self.name = name
        self.folder = _newest(typed(data_dir), name)
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
        """Returns the images, objects and expressions of each split.

        If some of the expressions fit nothing, "fitting nothing" counts these.
        """
        counts = {}
        for split in self.info.splits:
            counts[split] = {
                "images": len(self.metadata["image_ids"][split]),
                "objects": sum(self.metadata["num_objects"][split]),
                "expressions": sum(map(len, self.metadata["sentences"][split])),
            }
            # Sets of earlier versions do not list it.
            nothing = self.metadata.get("fit_nothing", {}).get(split)
            if nothing:
                counts[split]["fitting nothing"] = nothing
        return counts

    def images(self, split: str) -> list[str]:
        """Returns "image source/image id" of each record."""
        source = self.metadata["image_source"]
        images = self.metadata["image_ids"].get(split, [])
        return [f"{source}/{image}" for image in images]


def _newest(data_dir: str, name: str) -> str:
    """Returns the folder of the newest version of a data set."""
    folder = os.path.join(data_dir, name)
    versions = _versions(folder)
    if versions:
        return os.path.join(folder, max(versions, key=tfds.core.Version))
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    forms = [f"{name}/{f}" for f in found if _versions(os.path.join(folder, f))]
    if forms:
        raise ValueError(
            f"The data set {name!r} has several forms; name one of them: "
            f"{' or '.join(forms)}."
        )
    raise FileNotFoundError(
        f"There is no data set {name!r} in {data_dir!r}. {_way_to(name, data_dir)}"
    )


def _way_to(name: str, data_dir: str) -> str:
    """Returns advice on a data set that is not there."""
    data_set, known = name.split("/")[0], sorted(_BUILDERS)
    if data_set not in known:
        close = difflib.get_close_matches(data_set, known, 1)
        hint = f" Is it {close[0]!r}?" if close else ""
        return f"It is none of the data sets {', '.join(known)}.{hint}"
    files = "" if data_set in _DRAWN else " --manual_dir=DOWNLOADS"
    return (
        "Build it with\n"
        f"    python -m tfds_builders.prepare {name}{files} --data_dir={data_dir}\n"
        f"(tfds_builders/{data_set}/README.md lists its inputs), or give the folder of "
        "the built data sets: --data_dir, or config.data.data_dir."
    )


def _versions(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in names if tfds.core.Version.is_valid(name)]
