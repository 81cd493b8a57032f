"""Builds data sets as array_record files, without TensorFlow.

python -m tfds_builders.prepare shapes --data_dir=data
python -m tfds_builders.prepare gref --manual_dir=downloads --data_dir=data
"""

import argparse
import importlib
import os
import sys
import warnings

import tensorflow_datasets as tfds

DATASETS = ("gref", "unc", "unc_plus", "referit", "custom", "shapes")


def make_builder(name: str, data_dir: str) -> tfds.core.GeneratorBasedBuilder:
    """Returns the builder of a data set.

    Args:
        name: "unc", or with one of the data set's forms, "gref/umd".
        data_dir: folder of all built data sets.

    Raises:
        ValueError: if there is no such data set.
    """
    dataset, _, form = name.partition("/")
    if dataset not in DATASETS:
        raise ValueError(f"Unknown data set {dataset!r}; it is one of {DATASETS}.")
    module = f"tfds_builders.{dataset}.{dataset}_dataset_builder"
    builder = importlib.import_module(module).Builder
    if form and form not in builder.builder_configs:
        raise ValueError(
            f"The data set {dataset!r} has no form {form!r}; it has "
            f"{sorted(builder.builder_configs)}."
        )
    return builder(config=form or None, data_dir=data_dir, file_format="array_record")


def prepare(name: str, data_dir: str, manual_dir: str | None = None) -> str:
    """Builds a data set unless it is built already.

    Args:
        name: one of DATASETS.
        data_dir: folder of all built data sets.
        manual_dir: folder of what the user downloaded, for data sets that need it.

    Returns:
        The folder of the built data set.

    Raises:
        FileNotFoundError: if a needed file is missing.
        ValueError: if a file is not what it should be.
    """
    builder = make_builder(name, data_dir)
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not builder.data_path.exists():
        if not manual_dir or not os.path.isdir(manual_dir):
            raise FileNotFoundError(
                f"{name} is built from files that you download yourself; --manual_dir "
                f"has to be the folder that holds them, but it is {manual_dir!r}."
                f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS.rstrip()}"
            )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=manual_dir, register_checksums=False
        )
    )
    return os.fspath(builder.data_path)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"of {DATASETS}")
    parser.add_argument("--data_dir", default="data", help="where to build (data)")
    parser.add_argument("--manual_dir", help="where your downloads are")
    arguments = parser.parse_args()
    # TFDS looks for TensorFlow wherever it might use it; nothing here does.
    warnings.filterwarnings("ignore", message=".*TensorFlow.*")
    for name in arguments.names:
        try:
            folder = prepare(name, arguments.data_dir, arguments.manual_dir)
        except (FileNotFoundError, ValueError) as error:
            sys.exit(f"{name}: {error}")
        print(f"{name}: built in {folder}")


if __name__ == "__main__":
    main()
