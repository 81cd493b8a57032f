"""Kills training again and again, and compares its end with that of a run left alone.

    python -m benchmarks.chaos --kills=20

Each scenario trains the same 60 steps twice by main.py: once straight, and once killed
with SIGKILL at random moments and started again by the same command. Parameters, the
optimizer's state, the history of metrics and the best checkpoint have to be equal bit
for bit. Writes chaos.md beside this file.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jax
import ml_collections
import numpy as np

from benchmarks import chaos_data
from restr_jax import checkpoint, experiment

ROOT = pathlib.Path(__file__).parent.parent
# How a process is killed: at any time, while a checkpoint is written (between its first
# file and the move that makes it count), or while the validation split is scored.
MOMENTS = {"any": 2, "step": 4, "save": 3, "evaluation": 2}
_TIMED = ("expressions_per_second", "minutes_left", "input_wait")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """How a run is spread: workers make batches, processes have devices."""

    name: str
    workers: int = 0
    devices: int = 1
    processes: int = 1


SCENARIOS = (
    Scenario("1 device, no worker"),
    Scenario("1 device, 4 workers", workers=4),
    Scenario("8 devices, no worker", devices=8),
    Scenario("8 devices, 4 workers", workers=4, devices=8),
    Scenario("2 processes, one of them killed", processes=2),
)


class Run:
    """main.py in one or several processes, in one workdir."""

    def __init__(self, scenario: Scenario, config_file: pathlib.Path, workdir):
        """Starts it."""
        self.workdir = pathlib.Path(workdir)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "main.py", f"--config={config_file}"]
        command += [f"--workdir={workdir}"]
        command += [f"--config.data.num_workers={scenario.workers}"]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(scenario.devices),
            "JAX_COMPILATION_CACHE_DIR": str(config_file.parent / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        self.log = (self.workdir.parent / f"{self.workdir.name}.log").open("a")
        self._log_start = self.log.tell()
        self.processes = []
        for i in range(scenario.processes):
            own = [
                "--distributed",
                f"--coordinator=localhost:{port}",
                f"--num_processes={scenario.processes}",
                f"--process_id={i}",
            ]
            self.processes.append(
                subprocess.Popen(
                    command + (own if scenario.processes > 1 else []),
                    cwd=ROOT,
                    env=environment,
                    stdout=self.log,
                    stderr=self.log,
                    start_new_session=True,
                )
            )

    def alive(self) -> bool:
        """Tells whether all processes run."""
        return all(process.poll() is None for process in self.processes)

    def kill(self, rng: random.Random) -> None:
        """Kills one process with SIGKILL, and then, as a cluster does, the others."""
        first = rng.randrange(len(self.processes))
        os.kill(self.processes[first].pid, signal.SIGKILL)
        if len(self.processes) > 1:
            time.sleep(rng.uniform(0, 2))
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        self.wait()

    def wait(self) -> list[int]:
        """Returns how the processes ended."""
        codes = [process.wait() for process in self.processes]
        self.log.close()
        return codes

    # What can be seen from outside of where it stands.

    def history(self) -> list[dict]:
        """Returns the whole lines of metrics.jsonl."""
        path = self.workdir / "metrics.jsonl"
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def has_begun(self) -> bool:
        """Tells whether this start of it has written a line of metrics."""
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            return ": loss=" in log.read()

    def saving(self) -> bool:
        """Tells whether a checkpoint is being written."""
        return any(self.workdir.glob("checkpoints/*tmp*"))

    def scoring(self, every: int) -> bool:
        """Tells whether the line before a validation is the last."""
        rows = self.history()
        return bool(rows) and "loss" in rows[-1] and rows[-1]["step"] % every == 0


def kill_at(run: Run, moment: str, config, rng: random.Random) -> str | None:
    """Waits for a moment and kills; returns where the run was, or None if it ended."""
    started, lines = time.monotonic(), len(run.history())
    delay = rng.uniform(0, 12 if moment == "any" else 0.5)
    while run.alive():
        time.sleep(0.002)
        if moment == "any":
            now = time.monotonic() - started > delay
        elif moment == "step":
            now = len(run.history()) > lines
        elif moment == "save":
            now = run.saving()
        else:
            now = run.scoring(config.eval.every_steps)
        if not now:
            continue
        if moment == "step":
            time.sleep(delay)
        elif moment != "any":
            time.sleep(delay / 20)
        run.kill(rng)
        if run.saving():
            return "save"
        if run.scoring(config.eval.every_steps):
            return "evaluation"
        return "step" if run.has_begun() else "start"
    return None


def digest(config, workdir: pathlib.Path) -> dict:
    """Returns everything that has to be equal."""
    run = experiment.start(config, str(workdir), training=False)
    checkpoints = run.checkpoints(read_only=True)
    last, best = checkpoints.steps()[-1], checkpoints.best_step()
    state = checkpoints.restore(last, run.abstract_state()).state
    checkpoints.close()
    history = [
        {key: value for key, value in json.loads(line).items() if key not in _TIMED}
        for line in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    results = json.loads((workdir / "eval" / "results.json").read_text())
    return {
        "last step": last,
        "parameters": jax.device_get(state.params),
        "optimizer": jax.device_get(state.opt_state),
        "history": history,
        "best step": best,
        "best parameters": checkpoint.read_params(
            str(workdir / "checkpoints" / str(best))
        ),
        "oIoU": [row["oiou"] for row in results],
    }


def differences(one: dict, other: dict) -> list[str]:
    """Names what is not equal bit for bit."""

    def equal(a, b) -> bool:
        a_leaves, b_leaves = jax.tree.leaves(a), jax.tree.leaves(b)
        return len(a_leaves) == len(b_leaves) and all(
            np.array_equal(x, y) for x, y in zip(a_leaves, b_leaves, strict=True)
        )

    return [name for name in one if not equal(one[name], other[name])]


def torment(
    scenario: Scenario, folder: pathlib.Path, kills: int, seed: int
) -> tuple[collections.Counter, list[str], int]:
    """Runs a scenario.

    Args:
        scenario: what is run.
        folder: for the data, the workdirs and their logs.
        kills: how often the second run is killed.
        seed: of the moments.

    Returns:
        How often it was killed where, what differs in the end, and how often it was
        started.
    """
    config, file = chaos_data.write_config(folder)
    name = scenario.name.replace(" ", "-").replace(",", "")
    straight, broken = folder / f"{name}-straight", folder / f"{name}-broken"
    run = Run(scenario, file, straight)
    codes = run.wait()
    if any(codes):
        raise RuntimeError(f"The straight run ended with {codes}; see {run.log.name}.")
    rng, hit, starts = random.Random(seed), collections.Counter(), 0
    while True:
        run, starts = Run(scenario, file, broken), starts + 1
        if hit.total() >= kills:
            codes = run.wait()
            break
        moment = rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        where = kill_at(run, moment, config, rng)
        if where is None:
            codes = run.wait()
            if not any(codes):
                break
            raise RuntimeError(
                f"A run ended by itself with {codes}; see {run.log.name}."
            )
        hit[where] += 1
    if any(codes):
        raise RuntimeError(f"The last run ended with {codes}; see {run.log.name}.")
    config = ml_collections.ConfigDict(
        json.loads((straight / "config.json").read_text())
    )
    return hit, differences(digest(config, straight), digest(config, broken)), starts


def main() -> None:
    """Runs the scenarios and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "chaos.md",
    )
    arguments = parser.parse_args()
    where = ("start", "step", "save", "evaluation")
    rows = [
        f"# {arguments.kills} kills\n\nBy `python -m benchmarks.chaos "
        f"--kills={arguments.kills} --seed={arguments.seed}`: {chaos_data.WHAT} "
        f"jax {jax.__version__}, Python {platform.python_version()}, CPU.\n",
        "| | killed in all | " + " | ".join(where) + " | differs in the end |",
        "| --- | ---: |" + " ---: |" * len(where) + " --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for scenario in SCENARIOS:
            hit, differs, _ = torment(
                scenario, pathlib.Path(folder), arguments.kills, arguments.seed
            )
            counts = " | ".join(str(hit[w]) for w in where)
            said = ", ".join(differs) or "nothing"
            rows.append(f"| {scenario.name} | {hit.total()} | {counts} | {said} |")
            print(rows[-1], flush=True)
            arguments.output.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
