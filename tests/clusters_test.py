"""Processes of a SLURM cluster: main.py with the variables that SLURM sets."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# The command as it is, up to training: what JAX would see of a node's GPUs.
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
        # JAX's own choice: the GPU of the task's number alone, however many it has.
        ([], "0 3"),
        # With --gpus-per-task=2, which numbers the GPUs of each task from 0.
        (["--local_device_ids=0,1"], "0 0,1"),
    ],
)
def test_a_task_sees_the_gpus_that_the_flag_names(extra, seen):
    done = show(*extra)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == seen


@pytest.mark.parametrize("ids", ["", "0,-1"])
def test_other_ids_are_refused_in_one_line(ids):
    done = show(f"--local_device_ids={ids}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "give whole numbers from 0 on, as in --local_device_ids=0,1" in done.stderr
