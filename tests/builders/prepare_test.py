import os
import pathlib
import subprocess
import sys

from tfds_builders import prepare


def test_the_command_builds_without_tensorflow(testdata, tmp_path):
    # A TensorFlow that ends whoever imports it, for it may not be installed here.
    (tmp_path / "tensorflow").mkdir()
    stub = "raise SystemExit('TensorFlow was imported')"
    (tmp_path / "tensorflow" / "__init__.py").write_text(stub)
    folder = tmp_path / "data" / "gref" / "1.0.0"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "tfds_builders.prepare", "gref"),
            f"--manual_dir={testdata / 'gref'}",
            f"--data_dir={tmp_path / 'data'}",
        ],
        cwd=pathlib.Path(prepare.__file__).parent.parent,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"gref: built in {folder}"
    assert len(list(folder.glob("*.array_record*"))) == 2


def test_what_is_built_is_used_again_without_its_downloads(gref_dir):
    folder = pathlib.Path(gref_dir) / "gref" / "1.0.0"
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert before
    assert prepare.prepare("gref", gref_dir, manual_dir=None) == str(folder)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
