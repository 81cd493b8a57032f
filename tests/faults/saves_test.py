"""Checkpoint writes during training: delayed, killed and failing ones."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

from benchmarks import chaos
from restr_jax import experiment
from restr_jax.data import pipeline
from restr_jax.training import preemption
from restr_jax.training.train_state import TrainState
from restr_jax.workdir import checkpoint

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture
def config(trained):
    config = trained[0]
    config.eval.num_figures, config.eval.shuffled_text = 0, False
    return config


def restored(config, workdir, step):
    run = experiment.start(config, str(workdir), training=False)
    checkpoints = run.checkpoints(read_only=True)
    found = checkpoints.restore(step, run.abstract_state)
    checkpoints.close()
    return jax.device_get(found.state), found.progress, found.scored


def assert_equal_checkpoints(config, one, other, step):
    states, progresses, scored = zip(
        *(restored(config, workdir, step) for workdir in (one, other)), strict=True
    )
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert progresses[0].lines == progresses[1].lines and scored[0] == scored[1]


class Hold:
    """Delays the writer of one step before it creates the first folder."""

    def __init__(self, monkeypatch, step):
        self.reached, self.released = threading.Event(), threading.Event()
        real = os.mkdir

        def mkdir(path, *arguments, **options):
            folder = pathlib.Path(os.fspath(path))
            if folder.parent.name == "checkpoints" and folder.name.startswith(
                f"{step}."
            ):
                self.reached.set()
                assert self.released.wait(120)
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, "mkdir", mkdir)


def at_batch(monkeypatch, number, act):
    """Calls `act` when the loop asks for batch `number` of a run."""
    real = pipeline.train_batches

    def stream(*args, **kwargs):
        for i, batch in enumerate(real(*args, **kwargs)):
            if i == number:
                act()
            yield batch

    monkeypatch.setattr(pipeline, "train_batches", stream)


def test_training_continues_while_a_checkpoint_is_unwritten(
    config, trained, tmp_path, monkeypatch
):
    _, straight = trained
    hold = Hold(monkeypatch, 4)

    def release():
        # Steps 5 and 6 are done and have reused the memory of step 4.
        assert hold.reached.is_set() and not (tmp_path / "checkpoints" / "4").exists()
        hold.released.set()

    at_batch(monkeypatch, 6, release)
    runs.finish(config, tmp_path)
    assert hold.released.is_set()
    for step in (4, 8):
        assert_equal_checkpoints(config, straight, tmp_path, step)


@pytest.mark.slow
def test_sigterm_waits_for_the_checkpoint_in_progress(
    config, trained, tmp_path, monkeypatch
):
    _, straight = trained
    with monkeypatch.context() as patch:
        hold = Hold(patch, 4)

        def terminate():
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Timer(1.0, hold.released.set).start()

        at_batch(patch, 5, terminate)
        with pytest.raises(preemption.PreemptedError, match="Step 6 is saved"):
            runs.finish(config, tmp_path)
    found = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert found == {"4", "6"}
    runs.finish(config, tmp_path)
    assert_equal_checkpoints(config, straight, tmp_path, 8)


@pytest.fixture
def state():
    """Returns a small state; checkpoints need no model."""
    params = {"w": jnp.arange(12.0).reshape(3, 4)}
    return TrainState(jnp.int32(1), params, {"moment": jnp.ones((3, 4))})


def fail_at_the_end(monkeypatch, step, error):
    """Makes the writer of a step fail when only the final rename is missing."""
    real = os.rename

    def rename(source, target):
        if str(target).endswith(f"checkpoints/{step}"):
            raise error
        return real(source, target)

    monkeypatch.setattr(os, "rename", rename)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize(
    ("act", "error", "kind", "fix"),
    [
        ("save", FULL, OSError, "Free some disk space"),
        ("wait", FULL, OSError, "Free some disk space"),
        ("steps", FULL, OSError, "Free some disk space"),
        ("close", FULL, OSError, "Free some disk space"),
        ("wait", ValueError("host local"), RuntimeError, "The disk is not the cause"),
        ("wait", TimeoutError("Timed out"), RuntimeError, "The disk is not the cause"),
    ],
)
def test_a_failed_write_is_raised_at_the_next_call(
    state, tmp_path, monkeypatch, keep, act, error, kind, fix
):
    fail_at_the_end(monkeypatch, 2, error)
    checkpoints = checkpoint.Checkpoints(str(tmp_path), keep)
    checkpoints.save(1, state)
    checkpoints.save(2, state)  # The write only starts; nothing is raised yet.
    said = f"Checkpoint 2 cannot be written to .*1 is intact\\. {fix}"
    with pytest.raises(kind, match=said) as raised:
        checkpoints.save(3, state) if act == "save" else getattr(checkpoints, act)()
    assert str(error) in str(raised.value)
    checkpoints.close()  # An error is raised only once.
    monkeypatch.undo()
    checkpoints = checkpoint.Checkpoints(str(tmp_path), keep)
    assert checkpoints.steps() == [1]
    found = checkpoints.restore_latest(state)
    jax.tree.map(np.testing.assert_array_equal, found.state, state)
    checkpoints.save(2, state)  # The failed checkpoint is not in the way.
    assert checkpoints.steps() == list(range(3 - keep, 3))
    checkpoints.close()


HELD = """
import os, sys, time
real = os.rename


def rename(source, target):
    # All of it is written; only the name that makes it count is missing.
    if str(target).endswith("checkpoints/8"):
        time.sleep(1000)
    return real(source, target)


os.rename = rename
import runpy
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.mark.slow
def test_a_kill_during_a_write_loses_only_that_checkpoint(
    chaos_folder, straight_workdir, tmp_path
):
    workdir = tmp_path / "killed"
    own = ["main.py", f"--config={chaos_folder / 'config.py'}", f"--workdir={workdir}"]
    with (tmp_path / "log").open("w") as log:
        held = subprocess.Popen(
            [sys.executable, "-c", HELD, *own], cwd=ROOT, stdout=log, stderr=log
        )
    until = time.monotonic() + 300
    # Training continues during the write, up to the next checkpoint, step 12.
    while "step 10:" not in (tmp_path / "log").read_text():
        assert held.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    held.kill()
    held.wait()
    left = {path.name for path in (workdir / "checkpoints").iterdir()}
    assert "4" in left and "8" not in left
    assert any(name.startswith("8.") for name in left)
    done = subprocess.run(
        [sys.executable, *own], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "resuming from step 4" in done.stderr
    assert all(path.name.isdigit() for path in (workdir / "checkpoints").iterdir())
    one, other = map(chaos.digest, (straight_workdir, workdir))
    assert chaos.differences(one, other) == []


def test_an_error_of_the_loop_still_completes_the_pending_checkpoint(
    config, tmp_path, monkeypatch
):
    hold = Hold(monkeypatch, 4)

    def fail():
        threading.Timer(0.5, hold.released.set).start()
        raise FloatingPointError("of step 6")

    at_batch(monkeypatch, 5, fail)
    with pytest.raises(FloatingPointError, match="of step 6"):
        runs.finish(config, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["4"]
    assert restored(config, tmp_path, 4)[0].step == 4
    assert checkpoint.read_params(str(tmp_path / "checkpoints" / "4"))
