"""Builds, checks, trains on and scores stand-ins of the data sets' real size.

    python -m benchmarks.real_size --folder=/scratch/real_size

real_size_data.py beside this file describes the stand-ins. Every stage is a process of
its own, measured in wall-clock time. Its peak memory is the total of its processes,
sampled five times a second. If the kernel reports more for the largest process, that
counts. The folder takes about 16 GB during the run and is removed at the end. Writes
results/real_size.json after every stage and prints the tables of real_size.md.
"""

import argparse
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil

from benchmarks import real_size_data
from benchmarks.reports import write
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = pathlib.Path(__file__).parent / "results" / "real_size.json"
# Configuration and scored split, by stand-in.
SETS = {
    "unc": ("configs/unc.py:tiny", "val"),
    "gref/google": ("configs/gref.py:tiny", "val"),
    "referit/text_objseg": ("configs/referit.py:tiny", "val"),
}
EIGHTFOLD = "unc, eightfold"


class Stage:
    """A command that is measured until it exits."""

    def __init__(self, command: list[str], log: pathlib.Path):
        """Starts the command."""
        self._started = time.time()
        self._log = log.open("w+")
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=self._log, stderr=self._log
        )
        self._peak = 0
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    def _sample(self) -> None:
        process = psutil.Process(self.process.pid)
        while self.process.returncode is None:
            try:
                family = [process, *process.children(recursive=True)]
                memory = sum(member.memory_info().rss for member in family)
                self._peak = max(self._peak, memory)
            except psutil.Error:  # A process has just exited.
                pass
            time.sleep(0.2)

    def seconds(self) -> float:
        """Returns the seconds since the start."""
        return time.time() - self._started

    def output(self) -> str:
        """Returns the output of the command so far."""
        return pathlib.Path(self._log.name).read_text(errors="replace")

    def wait_for(self, seen) -> float:
        """Waits until a function is true; returns the seconds since the start.

        Raises:
            RuntimeError: if the command exits first.
        """
        while not seen():
            if self.process.poll() is not None:
                raise RuntimeError(f"It exited too early:\n{self.output()[-3000:]}")
            time.sleep(0.1)
        return self.seconds()

    def end(self, expected: int = 0) -> dict[str, float]:
        """Waits for the exit; returns seconds and peak_mib.

        Raises:
            RuntimeError: if the exit code is not the expected one.
        """
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._sampler.join()
        if self.process.returncode != expected:
            raise RuntimeError(f"Exit code {self.process.returncode}, expected "
                               f"{expected}:\n{self.output()[-3000:]}")  # fmt: skip
        peak = max(self._peak / 2**20, usage.ru_maxrss / 2**10)
        return {"seconds": round(self.seconds(), 1), "peak_mib": round(peak)}


class Bench:
    """The stages of all sets in a folder."""

    def __init__(self, folder: pathlib.Path, results: dict):
        self._folder, self._results = folder, results

    def note(self, name: str, stage: str, row: dict) -> None:
        """Records a row."""
        self._results["rows"].append({"set": name, "stage": stage, **row})
        write(RESULTS, self._results)
        print(f"{name}, {stage}: {row}", flush=True)

    def start(self, *command) -> Stage:
        """Starts Python on a module or a file of the project."""
        arguments = [sys.executable, *map(str, command)]
        return Stage(arguments, self._folder / "log.txt")

    def prepare(self, name: str, manual: pathlib.Path, *more: str) -> Stage:
        """Starts tfds_builders.prepare."""
        command = ["-m", "tfds_builders.prepare", name, f"--manual_dir={manual}"]
        return self.start(*command, f"--data_dir={self._folder / 'data'}", *more)

    def build(self, name: str, manual: pathlib.Path, interrupt: bool) -> None:
        """Builds a set, after a build that is killed halfway if `interrupt` is set."""
        data = self._folder / "data" / name.partition(",")[0]
        if interrupt:
            stage = self.prepare(name, manual)
            stage.wait_for(lambda: size_of(data) > 1.3e9)
            stage.process.send_signal(signal.SIGKILL)
            row = stage.end(-signal.SIGKILL)
            if list(data.glob("[0-9]*")):
                raise RuntimeError(f"{data} looks complete after a killed build")
            self.note(name, "prepare, killed halfway", row | {"disk": size_of(data)})
        row = self.prepare(name.partition(",")[0], manual).end()
        if list(data.glob("incomplete.*")):
            raise RuntimeError(f"{data} still has files of the killed build")
        stage = "prepare again, the same command" if interrupt else "prepare"
        self.note(name, stage, row | {"disk": size_of(data)})

    def chain(self, name: str, manual: pathlib.Path) -> None:
        """Checks a built set, trains a step on it and scores."""
        self.note(name, "--check", self.prepare(name, manual, "--check").end())
        config, split = SETS[name]
        workdir = self._folder / "run"
        run = ["main.py", f"--config={config}", f"--workdir={workdir}"]
        run += [f"--config.data.data_dir={self._folder / 'data'}"]
        run += ["--config.log_every_steps=1"]
        stage = self.start(*run)
        began = stage.wait_for(lambda: "starting in" in stage.output())
        stepped = stage.wait_for(lambda: "step 1: " in stage.output())
        stage.process.send_signal(signal.SIGTERM)
        row = stage.end(75)
        self.note(name, "start-up of training", row | {"seconds": round(began, 1)})
        row["seconds"] = round(stepped - began, 1)
        self.note(name, "its first step, compiled", row)
        run += ["--mode=eval", "--config.eval.checkpoints=latest"]
        row = self.start(*run, f"--config.eval.splits={split}").end()
        self.note(name, f"scoring {split}", row)
        shutil.rmtree(workdir)


def size_of(folder: pathlib.Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run_all(folder: pathlib.Path, results: dict, wanted: list[str]) -> None:
    """Runs the stages of the wanted sets."""
    bench, coco = Bench(folder, results), folder / "refer"
    sizes = {size.name: size for size in (real_size_data.UNC, real_size_data.GREF)}
    if sizes.keys() & set(wanted):
        pool = real_size_data.write_pool(coco / "pool", 256, (480, 640))
        mean = sum(path.stat().st_size for path in pool) / len(pool)
        results["image_bytes"] = round(mean)
    for name in wanted:
        manual = coco
        if name == EIGHTFOLD:
            manual = folder / "eightfold"
            pool = real_size_data.write_pool(manual / "pool", 64, (120, 160), (1, 2))
            real_size_data.write_refer(manual, real_size_data.UNC.times(8), pool)
        elif name in sizes:
            real_size_data.write_refer(manual, sizes[name], pool)
        else:
            manual = folder / "referit"
            real_size_data.write_referit(manual)
        bench.build(name, manual, interrupt=name == "unc")
        if name in SETS:
            bench.chain(name, manual)
        shutil.rmtree(folder / "data")


def to_markdown(results: dict) -> str:
    """Formats the rows as a Markdown table."""
    rows = [
        [
            row["set"],
            row["stage"],
            f"{row['seconds']:,.0f}",
            f"{row['peak_mib']:,}",
            f"{row['disk'] / 1e9:.2f}" if "disk" in row else "",
        ]
        for row in results["rows"]
    ]
    header = ["set", "stage", "seconds", "peak memory, MiB", "disk, GB"]
    return "\n".join(table(header, rows))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=typed, required=True, help="temporary; is removed"
    )
    names = [*SETS, EIGHTFOLD]
    parser.add_argument("--sets", default=";".join(names), help="separated by ;")
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder).absolute()
    folder.mkdir(parents=True)
    results = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "rows": [],
    }
    try:
        run_all(folder, results, arguments.sets.split(";"))
    finally:
        shutil.rmtree(folder)
    print(to_markdown(results))


if __name__ == "__main__":
    main()
