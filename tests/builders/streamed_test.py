"""Memory and shards of data sets of any size, and builds that fail."""

import io
import itertools
import pathlib
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from restr_jax.data import splits
from tfds_builders import images, masks, prepare, records
from tfds_builders.shapes import shapes_dataset_builder
from tfds_builders.storage import streamed

SIDE = 120
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
CONTENT = images.encode_png(NOISE).getvalue()


class Noise(streamed.StreamedBuilder, skip_registration=True):
    """One image under many names."""

    VERSION = tfds.core.Version("1.0.0")
    RECORDS = 5

    def _info(self):
        return records.dataset_info(self, "Noise.", image_source="noise")

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        made = (self._record(str(i)) for i in range(self.RECORDS))
        return records.numbered(self, "train", made)

    def _record(self, name):
        names = dict.fromkeys(("object_id", "ref_id", "category"), name)
        said = dict.fromkeys(("sent_id", "sent", "raw", "kind"), name)
        mask = masks.encode_mask(np.ones((SIDE, SIDE), bool))
        return {
            "image": io.BytesIO(CONTENT),
            "image_id": name,
            "objects": [names | {"mask": mask}],
            "expressions": [said | {"object": 0}],
        }


def build(folder, **config):
    builder = Noise(data_dir=str(folder), file_format="array_record")
    config = tfds.download.DownloadConfig(register_checksums=False, **config)
    builder.download_and_prepare(download_config=config)
    return builder


@pytest.fixture
def no_memory(monkeypatch):
    """Makes TFDS's own writer import TensorFlow at the first record."""
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("gref/google", "refer"),
        ("unc", "refer"),
        ("referit/text_objseg", "referit"),
        ("custom", "custom"),
        ("shapes", "refer"),
    ],
)
def test_sets_above_the_tfds_limit_are_built(
    name, folder, no_memory, testdata, tmp_path, monkeypatch
):
    few = {"train": 4, "val": 2, "test": 2}
    monkeypatch.setattr(shapes_dataset_builder.Builder, "SCENES", few)
    prepare.prepare(name, str(tmp_path), str(testdata / folder))
    assert len(splits.open_split(str(tmp_path), name, "val").source)


def test_the_tfds_call_builds_them_too(no_memory, testdata, tmp_path):
    builder = prepare.make_builder("unc", str(tmp_path))
    config = tfds.download.DownloadConfig(manual_dir=str(testdata / "refer"))
    builder.download_and_prepare(download_config=config, file_format="array_record")
    assert builder.info.splits["train"].num_examples == 1


def test_memory_does_not_grow_with_the_records(tmp_path, monkeypatch):
    peaks = []
    for count in (20, 20, 220):  # The first build includes lazy imports.
        monkeypatch.setattr(Noise, "RECORDS", count)
        tracemalloc.start()
        build(tmp_path / f"{len(peaks)}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = 200 * len(CONTENT)
    assert more > 8e6 and peaks[2] - peaks[1] < more / 10


def test_full_shards_are_followed_by_others_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(Noise, "SHARD_BYTES", 2 * len(CONTENT))
    builder = build(tmp_path)
    info = builder.info.splits["train"]
    assert info.shard_lengths == [2, 2, 1] and info.num_examples == 5
    assert 5 * len(CONTENT) < info.num_bytes < 5 * len(CONTENT) + 5_000
    folder = pathlib.Path(builder.data_dir)
    shards = {f"noise-train.array_record-0000{i}-of-00003" for i in range(3)}
    others = {"dataset_info.json", "features.json", "metadata.json"}
    assert {path.name for path in folder.iterdir()} == shards | others
    opened = splits.open_split(str(tmp_path), "noise", "train")
    numbers = [record["image_id"].decode() for record in opened.source]
    assert numbers == ["0", "1", "2", "3", "4"]
    assert opened.images == [f"noise/{number}" for number in numbers]


def test_a_record_larger_than_a_shard_has_one_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Noise, "SHARD_BYTES", 10)
    assert build(tmp_path).info.splits["train"].shard_lengths == [1] * 5


def test_a_small_split_is_one_shard(tmp_path):
    assert build(tmp_path).info.splits["train"].shard_lengths == [5]


def test_no_more_records_are_written_than_requested(tmp_path):
    builder = build(tmp_path, max_examples_per_split=3)
    assert builder.info.splits["train"].num_examples == 3


def test_a_split_without_records_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Noise, "RECORDS", 0)
    with pytest.raises(ValueError, match="'train' of noise has no record"):
        build(tmp_path)
    assert not list(tmp_path.rglob("*.array_record*"))


def test_an_error_among_the_records_leaves_nothing(tmp_path, monkeypatch):
    make, counted = Noise._record, itertools.count()

    def fail(self, name):
        if next(counted) == 3:
            raise RuntimeError("broken")
        return make(self, name)

    monkeypatch.setattr(Noise, "_record", fail)
    monkeypatch.setattr(Noise, "SHARD_BYTES", 10)
    with pytest.raises(RuntimeError, match="broken"):
        build(tmp_path)
    assert not list(tmp_path.glob("noise/*"))
    build(tmp_path)
