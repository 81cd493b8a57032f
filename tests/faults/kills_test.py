"""Kills main.py, sends it SIGTERM and cuts it off from the network."""

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

from benchmarks import chaos, chaos_run
from restr_jax.training import preemption

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
SECONDS = 300  # Timeout of every wait; generous, for busy machines.


@pytest.fixture
def file(chaos_folder):
    """Returns the configuration file of a run of 40 steps."""
    return chaos_folder / "config.py"


# Two processes start slowly; benchmarks/chaos.py kills all scenarios often.
@pytest.mark.parametrize(
    ("scenario", "kills", "seed"),
    [(chaos.SCENARIOS[0], 3, 1), (chaos.SCENARIOS[-1], 1, 2)],
)
def test_a_run_killed_at_random_ends_bit_identical(scenario, kills, seed, chaos_folder):
    hit, differs, starts = chaos.torment(scenario, chaos_folder, kills=kills, seed=seed)
    assert (hit.total(), differs, starts) == (kills, [], kills + 1)


def test_pmap_in_two_processes_resumes_and_matches_one_process(chaos_folder):
    scenario = chaos_run.Scenario("two", processes=2, devices=2, parallel="pmap")
    hit, differs, starts = chaos.torment(scenario, chaos_folder, kills=1, seed=2)
    assert (hit.total(), differs, starts) == (1, [], 2)
    alone = chaos_run.Scenario("one", devices=4, parallel="pmap")
    runs = (chaos.straight_run(s, chaos_folder) for s in (alone, scenario))
    one, two = map(chaos.digest, runs)
    # Processes sum gradients in another order. Float32 rounding grows over 40 updates,
    # which divide by the root of the squared gradient.
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


@pytest.mark.parametrize("scenario", [chaos.SCENARIOS[0], chaos.SCENARIOS[-1]])
def test_sigterm_saves_the_step_and_reports_it(chaos_folder, file, tmp_path, scenario):
    last, log = 0, tmp_path / "run.log"
    for told in range(scenario.processes):  # Each process in turn.
        seen = len(log.read_text()) if log.exists() else 0
        run = chaos_run.Run(scenario, file, tmp_path / "run")
        wait_for(run.lines, run)
        os.kill(run.processes[told].pid, signal.SIGTERM)
        assert run.wait() == [preemption.EXIT_CODE] * scenario.processes
        said = log.read_text()[seen:]
        (step,) = set(re.findall(r"Received SIGTERM\. Step (\d+) is saved", said))
        assert last < int(step) < 40 and "Traceback" not in said
        assert (tmp_path / "run" / "checkpoints" / step).is_dir()
        last = int(step)
    again = chaos_run.Run(scenario, file, tmp_path / "run")
    assert again.wait() == [0] * scenario.processes
    straight = chaos.straight_run(scenario, chaos_folder)
    one, other = map(chaos.digest, (tmp_path / "run", straight))
    assert chaos.differences(one, other) == []


def test_sigterm_during_startup_gives_the_same_exit_code(file, tmp_path):
    run = chaos_run.Run(chaos.SCENARIOS[0], file, tmp_path / "run")
    log = tmp_path / "run.log"
    wait_for((tmp_path / "run" / "config.json").exists, run)
    os.kill(run.processes[0].pid, signal.SIGTERM)
    assert run.wait() == [preemption.EXIT_CODE]
    assert "Received SIGTERM" in log.read_text().splitlines()[-1]
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_two_trainers_cannot_share_a_workdir(file, tmp_path):
    first = chaos_run.Run(chaos.SCENARIOS[0], file, tmp_path / "run")
    wait_for(first.lines, first)
    second = chaos_run.Run(chaos.SCENARIOS[0], file, tmp_path / "run")
    assert second.wait() == [1]
    assert first.wait() == [0]
    assert "Another process is training in" in (tmp_path / "run.log").read_text()


def test_a_killed_data_worker_ends_the_run_with_an_error_message(file, tmp_path):
    psutil = pytest.importorskip("psutil")
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


def test_too_little_device_memory_is_reported(file, tmp_path):
    command = [sys.executable, "main.py", f"--config={file}"]
    command += [f"--workdir={tmp_path / 'run'}"]
    command += ["--config.data.max_words=500000"]  # attention takes 100 TB
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


def test_training_and_prediction_do_not_use_the_network(file, tmp_path):
    scene = ROOT / "restr_jax" / "shipped" / "shapes" / "examples" / "scene-1.png"
    for arguments in (
        ["main.py", f"--config={file}", f"--workdir={tmp_path / 'run'}"],
        ["restr_jax/cli.py", "predict", str(scene), "-e", "circle"]
        + ["--model=shapes", f"--output={tmp_path / 'out'}"],
    ):
        command = [sys.executable, "-c", NO_NETWORK, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").rglob("*.png"))
    assert (tmp_path / "run" / "eval" / "results.json").is_file()
