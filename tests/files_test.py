import errno
import json

import pytest

from restr_jax import files
from restr_jax.drawing import gallery
from restr_jax.evaluation import report
from restr_jax.export import artifact
from restr_jax.pretrained import convert, load
from restr_jax.workdir import config_checks, model_files

# Truncated, not text, other types, missing fields, nested without end.
DAMAGED = [b"", b"[{", b"\xff", b"3", b'"text"', b"[3]", b'["x"]', b'[{"a": 1}]']
DAMAGED += [b"[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: str(content[:9]))
@pytest.mark.parametrize(
    ("name", "read", "remedy"),
    [
        ("results.json", report.read_rows, "its rows are scored again"),
        (
            "cases.json",
            lambda folder: gallery.add_cases(folder, []),
            "figures are kept",
        ),
        ("config.json", config_checks.read_config, "choose another --workdir"),
    ],
)
def test_a_damaged_file_of_a_workdir_is_named_with_a_remedy(
    tmp_path, content, name, read, remedy
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged \(\w+\)\. .*{remedy}"):
        read(tmp_path)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    ("names", "write"),
    [
        (["config.json", "vocabulary.txt"], model_files.write),
        (["encode.onnx", "weights.npz"], lambda _, folder: artifact.begin(folder)),
        (["metrics.jsonl"], lambda t, f: config_checks.claim_workdir(str(f), t.config)),
        (["a.npz"], lambda _, f: load.write(f / "a.npz", load.read("shapes"), {})),
        (["a.safetensors"], lambda _, f: convert.export("shapes", f / "a.safetensors")),
    ],
)
def test_files_of_the_user_are_never_written_over(tmp_path, names, write):
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{names[-1]}.* would be written over"):
        write(model_files.read("shapes"), tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(
        names, "mine"
    )


def test_files_of_an_earlier_run_are_written_over(tmp_path):
    trained, weights = model_files.read("shapes"), load.read("shapes")
    for _ in range(2):
        model_files.write(trained, tmp_path / "weights")
        load.write(tmp_path / "a.npz", weights, {})
        artifact.begin(tmp_path / "artifact")
        artifact.finish(trained, tmp_path / "artifact", "onnx", [])
    assert load.read(tmp_path / "a.npz").arrays.keys() == weights.arrays.keys()


def test_written_files_are_read_back(tmp_path):
    content = {"model": {"width": 3}, "name": "h\u00e9"}
    files.write_whole(tmp_path / "config.json", json.dumps(content))
    assert config_checks.read_config(tmp_path) == content
    assert report.read_rows(tmp_path) == []


def test_disk_errors_name_a_remedy():
    full = OSError(errno.ENOSPC, "No space left on device", "a.json")
    said = files.in_one_line(full)
    assert said.startswith("OSError: [Errno 28] No space left on device: 'a.json'. Fre")
    missing = FileNotFoundError(errno.ENOENT, "No such file", "a.json")
    assert "Free some" not in files.in_one_line(missing)


def test_an_output_that_no_command_would_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.output_file("~/new/vit.npz", ".npz") == tmp_path / "new" / "vit.npz"
    assert files.output_file(tmp_path / "rows") == tmp_path / "rows"
    with pytest.raises(ValueError, match=r"vit has to be .* in \.npz, such as vit.npz"):
        files.output_file("vit", ".npz")
    with pytest.raises(ValueError, match="is a folder; give a file in it"):
        files.output_file("~")


def test_the_folder_of_a_file_is_created(tmp_path):
    files.write_whole(tmp_path / "a" / "b" / "c.json", "{}")
    assert (tmp_path / "a" / "b" / "c.json").read_text() == "{}"
