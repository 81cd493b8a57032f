"""Full and read-only disks: real ones, in a private mount namespace."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from benchmarks import chaos

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
# Compile every program once, since the same ones run repeatedly.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}
# A mount namespace, which ends with its last process; it needs no root.
NAMESPACE = ["unshare", "--map-root-user", "--mount"]
try:
    TRIED = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"])
    CAN_MOUNT = TRIED.returncode == 0
except FileNotFoundError:
    CAN_MOUNT = False
needs_mounts = pytest.mark.skipif(not CAN_MOUNT, reason="nothing can be mounted here")


def python(*arguments):
    return shlex.join([sys.executable, *map(str, arguments)])


def run(script):
    """Runs a shell script that may mount disks; returns the finished process."""
    return subprocess.run(
        [*NAMESPACE, "sh", "-c", script],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
    )


def assert_said(done, *parts):
    """Asserts that the last line has all parts and that there is no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    last = done.stderr.splitlines()[-1]
    for part in parts:
        assert part in last


def train(file, workdir):
    return python("main.py", f"--config={file}", f"--workdir={workdir}")


@needs_mounts
@pytest.mark.parametrize(
    ("size", "every", "parts"),
    [
        ("8k", 20, ["metrics.jsonl cannot be written to"]),
        ("40k", 4, ["Checkpoint 4 cannot be written to", "There is none before it"]),
        ("1750k", 4, ["Checkpoint", "cannot be written to", " is intact. Free some"]),
    ],
)
def test_a_run_on_a_full_disk_resumes_once_there_is_space(
    chaos_folder, straight_workdir, tmp_path, size, every, parts
):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = train(chaos_folder / "config.py", disk / "run")
    command += f" --config.checkpoint_every_steps={every}"
    script = f"""
        mount -t tmpfs -o size={size} none {disk}
        {command}; code=$?
        mount -o remount,size=64m {disk}
        {command} > {tmp_path}/log 2>&1 && cp -r {disk}/run {tmp_path}/copy
        exit $code
    """
    done = run(script)
    assert_said(done, *parts, "No space left on device", "the same command")
    one, other = map(chaos.digest, (straight_workdir, tmp_path / "copy"))
    assert chaos.differences(one, other) == []


@needs_mounts
def test_scoring_on_a_full_disk_resumes_once_there_is_space(
    chaos_folder, straight_workdir, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    workdir = disk / straight_workdir.name
    command = train(chaos_folder / "config.py", workdir) + " --mode=eval"
    script = f"""
        mount -t tmpfs -o size=8m none {disk}
        cp -r {straight_workdir} {disk} && rm -r {workdir}/eval
        dd if=/dev/zero of={disk}/filled bs=4k status=none 2> {tmp_path}/log
        {command}; code=$?
        rm {disk}/filled
        {command} > {tmp_path}/log 2>&1 && cp -r {workdir} {tmp_path}/copy
        exit $code
    """
    done = run(script)
    assert_said(done, "No space left on device", "Free some disk space")
    one = scores(straight_workdir, chaos_folder)
    assert len(one) > 5 and one == scores(tmp_path / "copy", disk)


def scores(workdir, written_in):
    """Returns the contents of the score files, without the name of their folder."""
    files = [file for file in (workdir / "eval").rglob("*") if file.is_file()]
    contents = [f.read_bytes().replace(str(written_in).encode(), b"") for f in files]
    return {
        str(f.relative_to(workdir)): c for f, c in zip(files, contents, strict=True)
    }


@needs_mounts
def test_a_read_only_workdir_is_reported(chaos_folder, straight_workdir, tmp_path):
    file = chaos_folder / "config.py"
    mount = f"mount --bind -o ro {tmp_path} {tmp_path}"
    done = run(f"{mount}; {train(file, tmp_path / 'run')}")
    assert_said(done, "cannot be written to (Read-only file system)", "--workdir")
    # The same for a run whose workdir was writable when it began.
    old = straight_workdir
    mount = f"mount --bind -o ro {old} {old}"
    done = run(f"{mount}; {train(file, old)}")
    assert_said(done, "cannot be written to (Read-only file system)", "--workdir")


PREPARE = """
import sys
from unittest import mock
from tfds_builders import prepare
from tfds_builders.shapes import shapes_dataset_builder
scenes = {"train": 400, "val": 10, "test": 10}
with mock.patch.object(shapes_dataset_builder.Builder, "SCENES", scenes):
    sys.argv[1:] = ["shapes", f"--data_dir={sys.argv[1]}/data"]
    prepare.main()
"""
# Other programs may fill the disk during a build.
UNFORESEEN = PREPARE.replace(
    "    prepare.main()",
    "    shapes_dataset_builder.Builder.needed_bytes = lambda self: 0\n"
    "    prepare.main()",
)
SCENE = "restr_jax/shipped/shapes/examples/scene-1.png"
FREE = ["Free some disk space"]


@needs_mounts
@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (
            ["-c", UNFORESEEN, "{}"],
            ["data/shapes/1.0.0 cannot be", "output was removed", "disk space"],
        ),
        (
            ["restr_jax/cli.py", "predict", SCENE, "-e", "circle", "--output={}/out"],
            FREE,
        ),
        (["restr_jax/cli.py", "export", "--format=weights", "--output={}/out"], FREE),
    ],
)
def test_other_commands_report_a_full_disk(tmp_path, command, parts):
    arguments = [argument.replace("{}", str(tmp_path)) for argument in command]
    script = f"mount -t tmpfs -o size=8k none {tmp_path}; PYTHONPATH=. "
    done = run(script + python(*arguments))
    assert_said(done, "No space left on device", *parts)


@needs_mounts
def test_a_disk_too_small_for_a_build_is_reported_before_it(tmp_path):
    script = f"mount -t tmpfs -o size=300k none {tmp_path}; PYTHONPATH=. "
    done = run(script + python("-c", PREPARE, str(tmp_path)))
    assert_said(done, "0.3 MB free, but shapes take about 4.", "Free some disk space")
