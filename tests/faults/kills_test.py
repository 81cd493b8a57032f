"""main.py, killed, told to stop, and kept from the network."""

import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks import chaos, chaos_data, chaos_run
from restr_jax import preemption

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
SECONDS = 300  # to wait for anything; a busy machine is no failure


@pytest.mark.parametrize("scenario", [chaos.SCENARIOS[0], chaos.SCENARIOS[-1]])
def test_a_run_killed_at_random_ends_bit_equal(scenario, tmp_path):
    hit, differs, starts = chaos.torment(scenario, tmp_path, kills=3, seed=1)
    assert (hit.total(), differs, starts) == (3, [], 4)


def test_pmap_in_two_processes_resumes_and_ends_as_in_one(tmp_path):
    scenario = chaos_run.Scenario("two", processes=2, devices=2, parallel="pmap")
    hit, differs, starts = chaos.torment(scenario, tmp_path, kills=1, seed=2)
    assert (hit.total(), differs, starts) == (1, [], 2)
    alone = chaos_run.Scenario("one", devices=4, parallel="pmap")
    run = chaos_run.Run(alone, tmp_path / "config.py", tmp_path / "one")
    assert run.wait() == [0]
    one, two = (chaos.digest(tmp_path / name) for name in ("one", "two-straight"))
    # Between processes gradients are added in another order: float32 rounding, and
    # what 60 updates that divide by its square root make of it.
    compare = functools.partial(np.testing.assert_allclose, atol=2e-4)
    jax.tree.map(compare, one["parameters"], two["parameters"])
    rows = zip(one["history"], two["history"], strict=True)
    losses = [(a["loss"], b["loss"]) for a, b in rows if "loss" in a]
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-5)
    np.testing.assert_allclose(one["oIoU"], two["oIoU"], atol=1e-3)
    assert one["best step"] == two["best step"]


def wait_for(condition, run):
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until and run.alive()
        time.sleep(0.005)


@pytest.mark.parametrize(("processes", "told"), [(1, 0), (2, 0), (2, 1)])
def test_sigterm_saves_the_step_and_says_so(tmp_path, processes, told):
    _, file = chaos_data.write_config(tmp_path)
    scenario = chaos_run.Scenario("told", processes=processes)
    run = chaos_run.Run(scenario, file, tmp_path / "run")
    wait_for(run.lines, run)
    os.kill(run.processes[told].pid, signal.SIGTERM)
    assert run.wait() == [preemption.EXIT_CODE] * processes
    said = (tmp_path / "run.log").read_text()
    (step,) = set(re.findall(r"Told to stop \(SIGTERM\)\. Step (\d+) is saved", said))
    assert 5 <= int(step) < 60 and "Traceback" not in said
    assert (tmp_path / "run" / "checkpoints" / step).is_dir()
    assert chaos_run.Run(scenario, file, tmp_path / "run").wait() == [0] * processes
    assert (
        chaos_run.Run(scenario, file, tmp_path / "straight").wait() == [0] * processes
    )
    one, other = (chaos.digest(tmp_path / name) for name in ("run", "straight"))
    assert chaos.differences(one, other) == []


def test_sigterm_while_starting_ends_with_the_same_code(tmp_path):
    _, file = chaos_data.write_config(tmp_path)
    run = chaos_run.Run(chaos.SCENARIOS[0], file, tmp_path / "run")
    log = tmp_path / "run.log"
    wait_for(lambda: "computing in" in log.read_text(), run)
    os.kill(run.processes[0].pid, signal.SIGTERM)
    assert run.wait() == [preemption.EXIT_CODE]
    assert "Told to stop (SIGTERM)" in log.read_text().splitlines()[-1]
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_two_trainers_at_once_do_not_share_a_workdir(tmp_path):
    _, file = chaos_data.write_config(tmp_path)
    first = chaos_run.Run(chaos.SCENARIOS[0], file, tmp_path / "run")
    wait_for(first.lines, first)
    second = chaos_run.Run(chaos.SCENARIOS[0], file, tmp_path / "run")
    assert second.wait() == [1]
    assert first.wait() == [0]
    assert (
        "is being trained in by another process" in (tmp_path / "run.log").read_text()
    )


def test_a_killed_data_worker_ends_the_run_with_a_word(tmp_path):
    psutil = pytest.importorskip("psutil")
    _, file = chaos_data.write_config(tmp_path)
    run = chaos_run.Run(chaos_run.Scenario("one", workers=1), file, tmp_path / "run")
    wait_for(run.lines, run)
    workers = [
        child
        for child in psutil.Process(run.processes[0].pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    for worker in workers:
        worker.kill()
    assert workers
    assert run.wait() == [1]
    (line,) = [
        line
        for line in (tmp_path / "run.log").read_text().splitlines()
        if line.startswith("ChildProcessError: A process that makes batches")
    ]
    assert "config.data.num_workers" in line


def test_a_device_without_enough_memory_is_said(tmp_path):
    _, file = chaos_data.write_config(tmp_path)
    command = [sys.executable, "main.py", f"--config={file}"]
    command += [f"--workdir={tmp_path / 'run'}"]
    command += ["--config.data.max_words=500000"]  # attention of 100 TB
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("MemoryError: Memory ran out (RESOURCE_EXHAUSTED")
    assert "config.batch_size" in said and "config.model.remat" in said


NO_NETWORK = """
import socket, sys

def refuse(*arguments, **options):
    raise SystemExit(f"the network was asked for: {arguments}")

class Socket(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            refuse(address)
        return super().connect(address)

socket.socket = Socket
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
import runpy
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_training_and_prediction_ask_nothing_of_the_network(tmp_path):
    _, file = chaos_data.write_config(tmp_path)
    scene = ROOT / "restr_jax" / "shipped" / "shapes" / "examples" / "scene-1.png"
    for arguments in (
        ["main.py", f"--config={file}", f"--workdir={tmp_path / 'run'}"],
        ["restr_jax/cli.py", "predict", str(scene), "-e", "circle"]
        + [f"--output={tmp_path / 'out'}"],
    ):
        command = [sys.executable, "-c", NO_NETWORK, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").rglob("*.png"))
    assert (tmp_path / "run" / "eval" / "results.json").is_file()
