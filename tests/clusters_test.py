"""Runs main.py as the processes of a SLURM cluster."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from absl.testing import flagsaver
from flax.traverse_util import flatten_dict

import main
from configs import gref
from restr_jax import command_line

ROOT = pathlib.Path(__file__).parent.parent
# The real command up to training; prints the process and its GPUs.
SHOW = """
import jax, main
from restr_jax import command_line, train

def show(*_):
    print(jax.process_index(), jax.config._read("jax_cuda_visible_devices"))

train.train_and_evaluate = show
command_line.run(main.main)
"""


def show(*extra):
    """Runs the fourth task of its node, alone in its job."""
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "3",
    }
    command = [sys.executable, "-c", SHOW, "--config=configs/gref.py", "--workdir=none"]
    return subprocess.run(
        [*command, "--distributed", *extra],
        cwd=ROOT,
        env=os.environ | slurm | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("extra", "seen"),
    [
        # JAX's default: only the GPU with the task's number, however many GPUs there
        # are.
        ([], "0 3"),
        # With --gpus-per-task=2, GPUs are numbered from 0 within each task.
        (["--local_device_ids=0,1"], "0 0,1"),
    ],
)
def test_a_task_sees_the_gpus_that_the_flag_names(extra, seen):
    done = show(*extra)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == seen


@pytest.mark.parametrize("ids", ["", "0,-1"])
def test_other_ids_are_refused_in_one_line(ids):
    flag = f"--local_device_ids={ids}"
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        command_line._parse_flags([main.__file__, flag])
    said = "give integers of at least 0, as in --local_device_ids=0,1"
    assert said in str(ended.value).splitlines()[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("configs/shape.py", "configs/shape.py is not a file; expected a config file"),
        ("configs/shapes:tiny", "--config=configs/shapes is not a file"),
        ("configs", "--config=configs is not a file"),
        ("", "--config= is not a file"),
        ("README.md", "README.md is not a config file ("),
        ("restr_jax/version.py", "expected Python with a function get_config"),
    ],
)
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_file_that_is_no_config_file_is_named(given, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    argv = [main.__file__, f"--config={given}", "--config.batch_size=4"]
    monkeypatch.setattr(sys, "argv", argv)  # Overrides are read from there.
    # A config file is loaded into the module of the one before.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        command_line._parse_flags(argv)
    assert said in str(ended.value) and "\n" not in str(ended.value)
    is_close = "configs/shape" in given
    assert ("Is it shapes?" in str(ended.value)) == is_close


def test_the_cluster_commands_train_as_many_images_as_the_paper():
    text = (ROOT / "docs" / "scaling.md").read_text().replace("\\\n", "")
    commands = re.findall(r"^ +.*main\.py.*config=configs/gref.*$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        config = gref.get_config()
        images = config.batch_size * config.optimizer.total_steps
        found = re.findall(r"--config\.([\w.]+)=(\S+)", command)
        given = {k: v if k.startswith("data.data") else float(v) for k, v in found}
        assert set(given) <= set(flatten_dict(config.to_dict(), sep="."))
        batch, steps = given["batch_size"], given["optimizer.total_steps"]
        assert batch * steps == images and steps == 10 * given["optimizer.warmup_steps"]
        rate = 1e-5 * (batch / 8) ** 0.5
        assert abs(given["optimizer.learning_rate"] - rate) < 0.02 * rate
        flags = re.findall(r"--(?!config\.)(\w+)", command.partition("main.py")[2])
        known = (ROOT / "restr_jax" / "commands" / "modes.py").read_text()
        assert all(f'"{flag}"' in known for flag in flags)
