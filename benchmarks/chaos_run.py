"""A run of main.py in processes that can be watched and killed."""

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
    """How a run is spread: workers make batches, processes have devices.

    `devices` are those of each process; `parallel` is the configuration's.
    """

    name: str
    workers: int = 0
    devices: int = 1
    processes: int = 1
    parallel: str = "jit"


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
        command += [f"--config.parallel={scenario.parallel}"]
        # Programs are compiled once, and kept where all are, or else beside the run.
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(config_file.parent / "cache"),
            **os.environ,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(scenario.devices),
        }
        if scenario.processes > 1:
            # Only the first keeps programs. It would be ahead of those that compile,
            # by more than the half minute in which CPUs have to find each other.
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

    # What can be seen from outside of where it stands. The workdir has what was left by
    # those before it, too.

    def lines(self) -> list[tuple[int, str]]:
        """Returns the step and the first name of every line of metrics it has said."""
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            found = re.findall(r"\] step (\d+): (\S+?)=", log.read())
        return [(int(step), name) for step, name in found]

    def saving(self) -> bool:
        """Tells whether a checkpoint is being written."""
        changed = []
        for path in self.workdir.glob("checkpoints/*tmp*"):
            with contextlib.suppress(FileNotFoundError):  # It is whole by now.
                changed.append(path.stat().st_mtime)
        return max(changed, default=0.0) > self._started

    def scoring(self, config) -> bool:
        """Tells whether a step is being scored, or in the end the model."""
        lines = self.lines()
        every = config.eval.every_steps
        to_score = bool(lines) and lines[-1][1] == "loss" and lines[-1][0] % every == 0
        return to_score or self.trained(config)

    def trained(self, config) -> bool:
        """Tells whether the last step is saved, after which only scores are missing."""
        last = config.optimizer.total_steps
        return (self.workdir / "checkpoints" / str(last)).is_dir()
