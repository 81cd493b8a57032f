"""Runs main.py in processes that can be observed and killed."""

import contextlib
import dataclasses
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Layout of a run: data workers, devices per process, and processes.

    `parallel` is config.parallel.
    """

    name: str
    workers: int = 0
    devices: int = 1
    processes: int = 1
    parallel: str = "jit"


class Run:
    """A run of main.py in one or several processes, in one workdir."""

    def __init__(self, scenario: Scenario, config_file: pathlib.Path, workdir):
        """Starts the processes."""
        self.workdir = pathlib.Path(workdir)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "main.py", f"--config={config_file}"]
        command += [f"--workdir={workdir}"]
        command += [f"--config.data.num_workers={scenario.workers}"]
        command += [f"--config.parallel={scenario.parallel}"]
        # Programs are compiled once, into the shared cache if set, or beside the run.
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(config_file.parent / "cache"),
            **os.environ,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(scenario.devices),
        }
        if scenario.processes > 1:
            # Only the first process writes the cache. It would be ahead of those that
            # compile by more than the half minute in which CPUs have to connect.
            environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        self.log = (self.workdir.parent / f"{self.workdir.name}.log").open("a")
        self._log_start, self._started = self.log.tell(), time.time()
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
        """Returns whether all processes are running."""
        return all(process.poll() is None for process in self.processes)

    def kill(self, rng: random.Random) -> None:
        """Kills one process with SIGKILL, then the others, as a cluster does."""
        first = rng.randrange(len(self.processes))
        os.kill(self.processes[first].pid, signal.SIGKILL)
        if len(self.processes) > 1:
            time.sleep(rng.uniform(0, 2))
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        self.wait()

    def wait(self) -> list[int]:
        """Waits for the processes and returns their exit codes."""
        codes = [process.wait() for process in self.processes]
        self.log.close()
        return codes

    # Progress as seen from outside. The workdir may also have files of earlier runs.

    def lines(self) -> list[tuple[int, str]]:
        """Returns step and first metric name of every logged line of metrics."""
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            found = re.findall(r"\] step (\d+): (\S+?)=", log.read())
        return [(int(step), name) for step, name in found]

    def saving(self) -> bool:
        """Returns whether a checkpoint is being written."""
        changed = []
        for path in self.workdir.glob("checkpoints/*tmp*"):
            with contextlib.suppress(FileNotFoundError):  # Complete by now.
                changed.append(path.stat().st_mtime)
        return max(changed, default=0.0) > self._started

    def scoring(self, config) -> bool:
        """Returns whether a step, or at the end the model, is being scored."""
        lines = self.lines()
        every = config.eval.every_steps
        to_score = bool(lines) and lines[-1][1] == "loss" and lines[-1][0] % every == 0
        return to_score or self.trained(config)

    def trained(self, config) -> bool:
        """Returns whether the last step is saved, so that only scores are missing."""
        last = config.optimizer.total_steps
        return (self.workdir / "checkpoints" / str(last)).is_dir()
