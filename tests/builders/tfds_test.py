"""TFDS's own test of a builder, and its own command; both need TensorFlow."""

import pathlib
import subprocess
import sys
from unittest import mock

import pytest

pytest.importorskip("tensorflow", reason="run with `make test-tf`")
import tensorflow_datasets as tfds  # noqa: E402

from tfds_builders.custom import custom_dataset_builder  # noqa: E402
from tfds_builders.gref import gref_dataset_builder  # noqa: E402
from tfds_builders.referit import referit_dataset_builder  # noqa: E402
from tfds_builders.shapes import shapes_dataset_builder  # noqa: E402
from tfds_builders.unc import unc_dataset_builder  # noqa: E402
from tfds_builders.unc_plus import unc_plus_dataset_builder  # noqa: E402

pytestmark = [
    pytest.mark.tf,
    # Warnings of TensorFlow and TFDS themselves.
    pytest.mark.filterwarnings("ignore"),
]
TESTDATA = pathlib.Path(__file__).parent.parent / "testdata"
ROOT = TESTDATA.parent.parent


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    __test__ = False
    # Checksums are for builders that download; these read a local folder.
    SKIP_CHECKSUMS = True
    EXAMPLE_DIR = TESTDATA / "refer"

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.__test__ = True


class GrefTest(BuilderTest):
    DATASET_CLASS = gref_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["google"]
    SPLITS = {"train": 2, "val": 2}


class UncTest(BuilderTest):
    DATASET_CLASS = unc_dataset_builder.Builder
    SPLITS = {"train": 1, "val": 1, "testA": 1, "testB": 1}


class UncPlusTest(BuilderTest):
    DATASET_CLASS = unc_plus_dataset_builder.Builder
    SPLITS = {"train": 1, "val": 1, "testA": 1, "testB": 1}


class ReferitTest(BuilderTest):
    DATASET_CLASS = referit_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["text_objseg"]
    EXAMPLE_DIR = TESTDATA / "referit"
    SPLITS = {"train": 1, "val": 1, "trainval": 1, "test": 1}
    OVERLAPPING_SPLITS = ["trainval"]


class ShapesTest(BuilderTest):
    DATASET_CLASS = shapes_dataset_builder.Builder
    EXAMPLE_DIR = TESTDATA
    SPLITS = {"train": 4, "val": 2, "test": 3}

    def setUp(self):
        super().setUp()
        self.enterContext(
            mock.patch.object(shapes_dataset_builder.Builder, "SCENES", self.SPLITS)
        )


class CustomTest(BuilderTest):
    DATASET_CLASS = custom_dataset_builder.Builder
    EXAMPLE_DIR = TESTDATA / "custom"
    SPLITS = {"train": 1, "val": 1}


def test_the_command_of_tfds_builds_too(tmp_path):
    result = subprocess.run(
        [
            *(sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build"),
            str(ROOT / "tfds_builders" / "unc"),
            f"--manual_dir={TESTDATA / 'refer'}",
            f"--data_dir={tmp_path}",
            "--file_format=array_record",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    builder = tfds.builder_from_directory(tmp_path / "unc" / "1.0.0")
    assert builder.info.splits["train"].num_examples == 1
