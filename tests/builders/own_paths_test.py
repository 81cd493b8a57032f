"""Builds sets whose annotations were written on other systems."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import sys
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tfds_builders import prepare
from tfds_builders.storage.built import Built

ONE, TWO = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
SQUARE = [[1, 1, 3, 1, 3, 4, 1, 4]]


@pytest.fixture
def manual(tmp_path):
    """Returns a folder with two images and a mask, without annotations."""
    root = tmp_path / "mine"
    for name in ("photos/1.png", f"photos/{TWO}.png", "masks/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(root / name)
    return root


def write_lines(root, *lines):
    rows = [{"image": i, "expression": "cup", "mask": m} for i, m in lines]
    (root / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def run(monkeypatch, capsys, *arguments):
    """Runs the command in this process and returns its output."""
    monkeypatch.setattr(sys, "argv", ["prepare", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    prepare.main()
    return capsys.readouterr().out


def test_json_lines_of_windows_and_macos_are_built(manual, monkeypatch, capsys):
    # Three spellings of one image make one record.
    write_lines(
        manual,
        ("photos\\1.png", "masks\\1.png"),
        ("photos/1.png", SQUARE),
        (".\\photos\\1.png", SQUARE),
        (f"photos/{ONE}.png", SQUARE),
    )
    data = manual.parent / "data"
    said = run(
        monkeypatch, capsys, "custom", f"--manual_dir={manual}", f"--data_dir={data}"
    )
    assert "  train: 2 images, 3 objects, 4 expressions\n" in said
    assert "  paths written with \\ instead of /: 3\n" in said
    assert "  names found in another Unicode form: 1\n" in said
    built = Built(str(data), "custom")
    assert built.metadata["image_ids"]["train"] == [
        "photos/1.png",
        f"photos/{TWO}.png",
    ]
    assert list(built.metadata["skipped"]) == []


@pytest.mark.parametrize("name", ["custom", "instances"])
def test_files_of_coco_with_windows_paths_are_built(manual, monkeypatch, capsys, name):
    images = [
        {"id": i, "file_name": file, "height": 6, "width": 8}
        for i, file in enumerate(("photos\\1.png", f"photos/{ONE}.png"))
    ]
    things = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": SQUARE}
        | {"iscrowd": 0, "expressions": ["the cup"]}
        for i in range(2)
    ]
    content = {"images": images, "annotations": things}
    content["categories"] = [{"id": 1, "name": "cup"}]
    file = "train.json" if name == "custom" else "instances_train.json"
    (manual / file).write_text(json.dumps(content))
    data = manual.parent / "data"
    options = ["--option=min_area=0.001"] if name == "instances" else []
    said = run(
        monkeypatch,
        capsys,
        name,
        f"--manual_dir={manual}",
        f"--data_dir={data}",
        *options,
    )
    assert "  train: 2 images" in said
    assert "  paths written with \\ instead of /: 1\n" in said
    assert "  names found in another Unicode form: 1\n" in said


def test_paths_of_label_studio_are_refused_with_the_right_ones(manual, monkeypatch):
    write_lines(manual, ("/data/upload/1/a1b2-1.png", SQUARE))
    (manual / "masks" / "1.png").unlink()
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, None, "custom", f"--manual_dir={manual}")
    assert "line 1: '/data/upload/1/a1b2-1.png' leads out" in ended.value.code
    assert "'photos/1.png' has that name" in ended.value.code


def test_tildes_are_the_home_folder(manual, monkeypatch, capsys):
    write_lines(manual, ("photos/1.png", SQUARE))
    home = manual.parent
    monkeypatch.setenv("HOME", str(home))
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    given = ("custom/own", "--manual_dir=~/mine", "--data_dir=~/data")
    built = home / "data" / "custom" / "own" / "1.0.0"
    assert f"built in {built}\n" in run(monkeypatch, capsys, *given)
    assert f"is in {built}\n" in run(monkeypatch, capsys, *given)
    assert "0 faults" in run(monkeypatch, capsys, *given, "--check")
    assert list(pathlib.Path().iterdir()) == []
    assert Built("~/data", "custom/own").folder == str(built)


def test_a_set_is_built_where_nothing_can_be_locked(
    manual, monkeypatch, capsys, caplog
):
    def flock(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    write_lines(manual, ("photos/1.png", SQUARE))
    data = manual.parent / "data"
    said = run(
        monkeypatch, capsys, "custom", f"--manual_dir={manual}", f"--data_dir={data}"
    )
    assert "  train: 1 images" in said
    assert f"{data / 'custom'} cannot be locked (Function not" in caplog.text
