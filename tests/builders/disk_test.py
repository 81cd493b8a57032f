"""Disk space of a build, checked before it starts."""

import collections
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tfds_builders import prepare
from tfds_builders.shapes import shapes_dataset_builder

SETS = {
    "gref/google": "refer",
    "unc": "refer",
    "unc_plus": "refer",
    "referit/text_objseg": "referit",
    "custom": "custom",
    "shapes": "",
}
Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch):
    """Returns a function that sets the free bytes of every disk."""

    def leave(free):
        usage = free if callable(free) else lambda _: Usage(10**15, 10**15, free)
        monkeypatch.setattr(shutil, "disk_usage", usage)

    return leave


@pytest.fixture
def large(testdata, tmp_path):
    """Returns a copy of the small sets with photographs of as many bytes as COCO's."""
    folder = tmp_path / "large"
    for name in set(filter(None, SETS.values())):
        shutil.copytree(testdata / name, folder / name)
    noise = np.random.default_rng(0).bytes(150_000)  # Records are compressed.
    for path in folder.rglob("*.jpg"):
        # Decoders ignore bytes after the end of an image.
        path.write_bytes(path.read_bytes() + noise)
    return folder


def build(name, data_dir, manual_dir):
    """Builds a set; returns the estimated and the actual bytes."""
    builder = prepare.make_builder(name, str(data_dir))
    prepare._configure(builder, str(manual_dir), False, None)
    prepare._build(builder, str(manual_dir))
    files = pathlib.Path(builder.data_path).iterdir()
    return builder.needed_bytes(), sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("name", SETS)
def test_the_estimate_covers_a_set_and_is_no_more_than_twice_it(
    name, large, tmp_path, monkeypatch
):
    few = {"train": 200, "val": 20, "test": 20}
    monkeypatch.setattr(shapes_dataset_builder.Builder, "SCENES", few)
    # Each split's last file is padded to 64 or 128 kB, so a few records look large.
    needed, taken = build(name, tmp_path / "data", large / (SETS[name] or "refer"))
    assert taken <= needed <= 2 * taken


def test_the_estimate_includes_reencoded_images(testdata, tmp_path):
    manual = pathlib.Path(shutil.copytree(testdata / "custom", tmp_path / "manual"))
    for path in (manual / "photos").iterdir():
        # Noise, which PNG cannot compress.
        with Image.open(path) as image:
            size = image.size[0] * 4, image.size[1] * 4
        Image.effect_noise(size, 200).save(path, quality=20)
    for line in ("train.jsonl", "val.json"):
        (manual / line).unlink()
    square = [[10, 10, 90, 10, 90, 90]]
    line = {"image": "photos/astronaut.jpg", "expression": "noise", "mask": square}
    (manual / "train.jsonl").write_text(json.dumps(line))
    needed, taken = build("custom", tmp_path / "data", manual)
    stored = (manual / "photos" / "astronaut.jpg").stat().st_size
    assert stored < taken / 3 and taken <= needed


def test_a_disk_too_small_for_all_sets_is_reported_before_the_first(
    disk, large, tmp_path
):
    disk(1_500_000)  # Enough for one set, too little for both.
    options = {"skip_bad": False, "num_workers": None}
    names, manual = ["unc", "gref"], str(large / "refer")
    with pytest.raises(OSError) as raised:
        list(prepare.prepare_all(names, str(tmp_path / "data"), manual, **options))
    message = str(raised.value)
    found = f"{tmp_path / 'data'} has 1.5 MB free, but unc, gref take about 2."
    assert message.startswith(found)
    assert "Free some disk space" in message and "\n" not in message
    assert not list(tmp_path.rglob("*.array_record*"))
    list(prepare.prepare_all(names[:1], str(tmp_path / "data"), manual, **options))


@pytest.mark.parametrize("name", ["unc", "shapes"])
def test_the_tfds_call_reports_it_too(name, disk, testdata, tmp_path):
    disk(1000)
    with pytest.raises(OSError, match=f"0.0 MB free, but {name} take about"):
        prepare.prepare(name, str(tmp_path), str(testdata / "refer"))
    assert not list(tmp_path.rglob("*.array_record*"))


def test_remains_of_a_killed_build_are_removed_before_the_disk_check(
    disk, testdata, tmp_path
):
    left = tmp_path / "unc" / "incomplete.ABC_1.0.0"
    left.mkdir(parents=True)
    disk(lambda _: Usage(10**9, 0, 0 if left.exists() else 10**9))
    options = {"skip_bad": False, "num_workers": None}
    manual = str(testdata / "refer")
    assert list(prepare.prepare_all(["unc"], str(tmp_path), manual, **options))
