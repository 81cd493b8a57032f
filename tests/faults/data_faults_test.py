"""Runs whose data set is damaged or disappears."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from restr_jax import train
from restr_jax.data import pipeline, splits
from restr_jax.data.loader import make_loader
from restr_jax.data.text import Vocabulary


@pytest.fixture
def spoilt(tiny_config, shapes_dir, tmp_path):
    """Returns a config with its own data, and the file of its training split."""
    config = tiny_config("shapes")
    config.data.data_dir = str(shutil.copytree(shapes_dir, tmp_path / "data"))
    (file,) = pathlib.Path(config.data.data_dir).rglob("shapes-train.array_record*")
    return config, file


def flip_record(file, record):
    """Flips a bit in the middle of one record."""
    content, source = bytearray(file.read_bytes()), splits_source(file)
    identity = source[record]["image_id"]
    place = content.index(source[record]["image"][100:200])
    content[place + 50] ^= 4
    file.write_bytes(content)
    return identity


def splits_source(file):
    data_dir = file.parents[2]
    return splits.open_split(str(data_dir), "shapes", "train").source


@pytest.mark.slow
def test_a_record_with_a_flipped_bit_is_never_trained_on(spoilt, tmp_path):
    config, file = spoilt
    flip_record(file, 7)
    with pytest.raises(splits.DamagedRecordError, match="Record 7 of shapes:train"):
        splits_source(file)[7]
    # 40 scenes of three groups and 8 per step: 8 steps may miss the record, an epoch
    # cannot.
    config.optimizer.total_steps = 16
    config.checkpoint_every_steps = config.eval.every_steps = 16
    config.eval.shuffled_text = False
    with pytest.raises(ValueError, match="Record 7 of shapes:train .*Build the data"):
        train.train_and_evaluate(config, str(tmp_path / "stops"))
    config.data.skip_bad = True
    train.train_and_evaluate(config, str(tmp_path / "skips"))
    rows = (tmp_path / "skips" / "metrics.jsonl").read_text().splitlines()
    skipped = sum(json.loads(row).get("bad_images", 0) for row in rows)
    assert skipped == 3  # its nine expressions, in groups of three


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_skipped_records_do_not_affect_the_rest(spoilt, workers):
    config, file = spoilt
    loader = loader_of(config)
    good = take(loader, config, workers)
    bad = flip_record(file, 3)
    left = take(loader_of(config), config, workers, skip_bad=True)
    found = 0
    for one, other in zip(good, left, strict=True):
        missing = ~other["valid"].any(1)
        found += missing.sum()
        for name in one:
            np.testing.assert_array_equal(one[name][~missing], other[name][~missing])
        assert not other["mask"][missing].any() and not other["tokens"][missing].any()
    assert found == 3 and bad
    with pytest.raises(ValueError, match="Record 3 of shapes:train"):
        take(loader_of(config), config, workers)


def loader_of(config):
    split = splits.open_split(config.data.data_dir, "shapes", "train")
    words = [s for sentences in split.sentences for s in sentences]
    vocabulary = Vocabulary.from_sentences(words, "paper", "right")
    return make_loader(config, split, vocabulary)


def take(loader, config, workers, **options):
    stream = pipeline.train_batches(
        loader, 12, seed=0, start_step=0, num_workers=workers, **options
    )
    try:
        return [next(stream) for _ in range(10)]  # one epoch
    finally:
        stream.close()


@pytest.mark.parametrize("left", [0, 1000, 70_000])
def test_an_incomplete_file_is_refused_before_training(spoilt, tmp_path, left):
    config, file = spoilt
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(splits.DamagedRecordError, match="prepare"):
        train.train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_missing_file_is_refused_before_training(spoilt, tmp_path):
    config, file = spoilt
    file.unlink()
    with pytest.raises(splits.DamagedRecordError, match="No such file"):
        train.train_and_evaluate(config, str(tmp_path / "run"))


@pytest.mark.slow
def test_a_started_run_outlives_its_data_folder_and_the_next_start_reports_it(
    spoilt, tmp_path, monkeypatch
):
    config, file = spoilt
    real = pipeline.train_batches

    def vanishing(*args, **kwargs):
        stream = real(*args, **kwargs)
        for number, batch in enumerate(stream):
            if number == 5:
                shutil.rmtree(config.data.data_dir)
            yield batch

    monkeypatch.setattr(pipeline, "train_batches", vanishing)
    # All files are opened at the start and stay readable.
    config.eval.splits = "test"
    (row,) = train.train_and_evaluate(config, str(tmp_path / "run"))
    assert row["split"] == "test"
    assert (tmp_path / "run" / "checkpoints" / "4").exists()
    with pytest.raises(FileNotFoundError, match="There is no data set 'shapes'"):
        train.train_and_evaluate(config, str(tmp_path / "run"))
