import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from restr_jax.data import splits
from tfds_builders import images, prepare

ROOT = pathlib.Path(prepare.__file__).parent.parent
IMAGES = "images/mscoco/images/train2014"


def command(*arguments):
    return [sys.executable, "-m", "tfds_builders.prepare", *map(str, arguments)]


def start(*arguments, **environment):
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def refused(monkeypatch, *arguments):
    """Runs the command in this process; returns its last line."""
    monkeypatch.setattr(sys, "argv", ["prepare", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        prepare.main()
    assert "\n" not in ended.value.code
    return ended.value.code


@pytest.fixture
def manual(testdata, tmp_path):
    """Returns a copy of the files that tests may damage."""
    return pathlib.Path(shutil.copytree(testdata / "refer", tmp_path / "manual"))


def test_the_command_builds_several_sets_without_tensorflow(testdata, tmp_path):
    # This stub exits on import, whether TensorFlow is installed here or not.
    (tmp_path / "tensorflow").mkdir()
    stub = "raise SystemExit('TensorFlow was imported')"
    (tmp_path / "tensorflow" / "__init__.py").write_text(stub)
    manual, data = (
        f"--manual_dir={testdata / 'refer'}",
        f"--data_dir={tmp_path / 'data'}",
    )
    result = start("gref", "unc", manual, data, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    for line in (
        f"gref: built in {tmp_path / 'data' / 'gref' / 'google' / '1.0.0'}",
        "  train: 2 images, 2 objects, 2 expressions",
        f"unc: built in {tmp_path / 'data' / 'unc' / '1.0.0'}",
        "  testA: 1 images, 1 objects, 3 expressions",
    ):
        assert line in result.stdout.splitlines()
    # The sample has 4 objects, the published set 49,822.
    assert "differs: " in result.stdout
    folder = tmp_path / "data" / "gref" / "google" / "1.0.0"
    assert len(list(folder.glob("*.array_record*"))) == 2


def test_a_built_set_is_reused_without_its_downloads(gref_dir):
    folder = pathlib.Path(gref_dir) / "gref" / "google" / "1.0.0"
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert before
    assert prepare.prepare("gref/google", gref_dir) == str(folder)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_all_problems_of_all_sets_are_reported_before_the_first_build(manual, run):
    (manual / "refcoco+" / "instances.json").unlink()
    path = manual / "refcocog" / "instances.json"
    instances = json.loads(path.read_text())
    instances["annotations"][0]["segmentation"] = []
    path.write_text(json.dumps(instances))
    data = manual.parent / "data"
    result = run(
        "unc", "unc_plus", "gref", f"--manual_dir={manual}", f"--data_dir={data}"
    )
    assert result.returncode == 1
    for part in (
        "unc_plus: 1 file is missing",
        "gref: 1 problem:",
        "the mask has no pixel",
        "Nothing was built",
    ):
        assert part in result.stderr
    assert "Traceback" not in result.stderr and "\nunc:" not in result.stderr
    assert not list(data.rglob("*.array_record*"))


def test_skipping_is_not_advised_where_it_cannot_help(tmp_path):
    (tmp_path / "manual").mkdir()
    folders = str(tmp_path / "data"), str(tmp_path / "manual")
    with pytest.raises(ValueError, match=r"Nothing was built\. Fix these\.$"):
        list(prepare.prepare_all(["unc"], *folders, skip_bad=False, num_workers=1))


def test_with_skip_bad_the_command_lists_the_skipped_entries(manual, run):
    image = manual / IMAGES / "COCO_train2014_000000600002.jpg"
    image.write_bytes(image.read_bytes()[:5000])
    data = manual.parent / "data"
    arguments = ("gref", f"--manual_dir={manual}", f"--data_dir={data}")
    result = run(*arguments)
    assert result.returncode == 1 and "600002.jpg: it is truncated" in result.stderr
    result = run(*arguments, "--skip_bad")
    assert result.returncode == 0
    assert "  1 problem skipped:" in result.stdout
    assert "600002.jpg: it is truncated" in result.stdout
    # A set that is built already is checked as well.
    assert "600002.jpg: it is truncated" in run(*arguments).stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grev", "Unknown data set 'grev'"),
        ("gref/unc", "has no form 'unc'; it has ['google', 'umd']"),
    ],
)
def test_an_unknown_name_is_refused(name, message, tmp_path):
    with pytest.raises(ValueError) as raised:
        prepare.make_builder(name, str(tmp_path))
    assert message in str(raised.value)


def test_a_missing_folder_is_named(tmp_path):
    for folder in (None, str(tmp_path / "absent")):
        with pytest.raises(FileNotFoundError, match="--manual_dir has to be"):
            prepare.prepare("gref", str(tmp_path / "data"), folder)
    result = start("unc", f"--data_dir={tmp_path / 'data'}")
    assert result.returncode == 1 and "--manual_dir has to be" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_form_of_a_data_set_must_be_named(gref_dir):
    with pytest.raises(ValueError, match="forms; name one of them: gref/google"):
        splits.open_split(gref_dir, "gref", "train")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_build_leaves_nothing_and_can_be_repeated(manual, how, run):
    data = manual.parent / "data"
    arguments = ("gref", f"--manual_dir={manual}", f"--data_dir={data}")
    building = subprocess.Popen(
        [sys.executable, "-c", _SLOW_BUILD, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = data / "gref" / "google"
    # Every record has its own shard: two are complete here, one is not.
    while not list(folder.glob("incomplete.*/*train*-of-00002")):
        assert building.poll() is None, building.stderr.read()
        time.sleep(0.02)
    second = run(*arguments)
    assert second.returncode == 1 and "by another process" in second.stderr
    building.send_signal(how)
    (manual / IMAGES / "go").touch()
    building.communicate()
    assert not (folder / "1.0.0").exists()
    assert bool(list(folder.glob("incomplete.*"))) == (how == signal.SIGKILL)
    assert run(*arguments).returncode == 0
    assert not list(folder.glob("incomplete.*"))
    assert len(splits.open_split(str(data), "gref/google", "val").source) == 2


DAMAGED = "is damaged", "cannot be opened"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("dataset_info.json", b"{"),
        ("dataset_info.json", b"\xff"),
        ("dataset_info.json", None),
        ("metadata.json", b""),
        ("features.json", b"[]"),
    ],
)
def test_a_damaged_set_is_named_in_one_line(
    file, content, gref_dir, tmp_path, monkeypatch
):
    data = pathlib.Path(shutil.copytree(gref_dir, tmp_path / "data"))
    path = data / "gref" / "google" / "1.0.0" / file
    path.unlink() if content is None else path.write_bytes(content)
    for more in ([], ["--check"]):
        said = refused(monkeypatch, "gref/google", f"--data_dir={data}", *more)
        assert any(word in said for word in DAMAGED) and "emove" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'scipy'"), "No module named 'scipy'. In"),
        (MemoryError(), "Memory ran out. Large images need less with --num_workers=1"),
        (KeyboardInterrupt(), "Interrupted. No partial data set is left"),
        (RuntimeError(f"write() failed: {os.strerror(5)}"), "cannot be written to"),
        (RuntimeError("can't start new thread"), "--num_workers"),
    ],
)
def test_errors_of_the_machine_print_one_line(
    error, said, testdata, tmp_path, monkeypatch
):
    def fail(*_):
        raise error

    monkeypatch.setattr(images, "read_image", fail)
    manual = f"--manual_dir={testdata / 'refer'}"
    assert said in refused(monkeypatch, "unc", manual, f"--data_dir={tmp_path}")
    assert not list(tmp_path.glob("unc/[0-9i]*"))


# Reading an image of the second split blocks until a file "go" exists.
_SLOW_BUILD = """
import sys, time
from tfds_builders import images, prepare
from tfds_builders.storage import streamed
streamed.StreamedBuilder.SHARD_BYTES = 1
read = images.read_image
def slow(path):
    while "600002" in str(path) and not path.with_name("go").exists():
        time.sleep(0.1)
    return read(path)
images.read_image = slow
sys.argv[0] = "prepare"
prepare.main()
"""
