"""The built data sets that a configuration names."""

import functools
import logging

from restr_jax.data import splits
from restr_jax.data.splits import Split

logger = logging.getLogger(__name__)


def listed(text: str) -> list[str]:
    """Returns the entries of a comma-separated value, without blanks around them."""
    return [entry.strip() for entry in text.split(",")]


class DataSets:
    """Opens the splits that a configuration names, each of them once."""

    def __init__(self, data):
        """Opens nothing yet.

        Args:
            data: the ``data`` part of a configuration.
        """
        self._data = data
        self._data_set = functools.cache(
            functools.partial(splits.DataSet, data.data_dir)
        )
        self._split = functools.cache(lambda name, split: self._data_set(name)[split])

    @functools.cached_property
    def training(self) -> Split:
        """The training data: all sets in sequence, without the excluded images."""
        data, without = self._data, set()
        for name in filter(None, listed(data.exclude)):
            for split in self._data_set(name).splits:
                if not split.startswith("train"):
                    without.update(self._split(name, split).images)
        names = listed(data.dataset)
        parts = [self._split(name, data.train_split) for name in names]
        joined = splits.join(parts, without)
        excluded = sum(len(part.source) for part in parts) - len(joined.source)
        if excluded:
            logger.info(
                "excluded %d training images that are in a scored split", excluded
            )
        return joined

    def scored(self, split: str) -> Split:
        """Opens a split for scoring.

        Args:
            split: a split of the configured data set, or "dataset:split".

        Raises:
            FileNotFoundError: if the data set has not been built.
            ValueError: if the split could belong to several data sets, or there is none
                of this name.
        """
        name, _, split_name = split.rpartition(":")
        if not name and "," in self._data.dataset:
            raise ValueError(
                f"The split {split!r} could belong to any data set in "
                f"config.data.dataset ({self._data.dataset}); name one, as in "
                f"{listed(self._data.dataset)[0]}:{split}."
            )
        return self._split(name or self._data.dataset, split_name)
