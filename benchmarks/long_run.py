"""Measures memory, open files, threads and speed of a long training run.

    python -m tfds_builders.prepare shapes --data_dir=data
    python -m benchmarks.long_run --steps=20000

main.py trains configs/shapes.py with scoring and checkpoints. Its memory (resident
set), file descriptors and threads are sampled once a second. The slopes exclude the
first tenth, with compilation and one-time setup. A shared machine drifts in half an
hour, so the speed is reported in two ways. One is the CPU time of each tenth of the
run. The other is expressions per second, compared with a new process that trains right
afterwards for a tenth of the steps. Writes long_run.md beside this file.
"""

import argparse
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import psutil

from tfds_builders import markdown
from tfds_builders.storage.paths import typed

ROOT = pathlib.Path(__file__).parent.parent
_EVERY_SECONDS = 1.0


def train(workdir: pathlib.Path, steps: int, data_dir: pathlib.Path) -> list[dict]:
    """Trains to the end and returns samples of the process.

    Args:
        workdir: workdir of the run.
        steps: number of training steps.
        data_dir: folder with shapes built.

    Returns:
        For each second the last step in metrics.jsonl, and rss_mib, descriptors,
        threads and cpu_seconds.
    """
    command = [sys.executable, "main.py", "--config=configs/shapes.py"]
    command += [f"--workdir={workdir}", f"--config.data.data_dir={data_dir.absolute()}"]
    # Every tenth has equally many checkpoints and scorings.
    changed = {
        "batch_size": 2,
        "optimizer.total_steps": steps,
        "checkpoint_every_steps": 400,
        "eval.every_steps": 2_000,
    }
    command += [f"--config.{key}={value}" for key, value in changed.items()]
    samples: list[dict] = []
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(_EVERY_SECONDS)
        try:
            with process.oneshot():
                sample = {
                    "rss_mib": process.memory_info().rss / 2**20,
                    "descriptors": process.num_fds(),
                    "threads": process.num_threads(),
                    "cpu_seconds": sum(process.cpu_times()[:2]),
                }
        except psutil.Error:  # The process has ended.
            break
        rows = read(workdir / "metrics.jsonl")
        samples.append({"step": rows[-1]["step"] if rows else 0} | sample)
    if process.wait():
        raise RuntimeError(f"{command} exited with {process.returncode}.")
    return samples


def read(metrics: pathlib.Path) -> list[dict]:
    """Returns the complete lines of metrics.jsonl."""
    text = metrics.read_text() if metrics.exists() else ""
    return [
        json.loads(line) for line in text.splitlines(keepends=True) if line[-1:] == "\n"
    ]


def table(samples: list[dict], steps: int) -> list[str]:
    """Returns the table of memory, descriptors and threads."""
    late = [s for s in samples if steps / 10 < s["step"] < steps]
    rows = []
    for name, unit in (
        ("rss_mib", "memory, MiB"),
        ("descriptors", "file descriptors"),
        ("threads", "threads"),
    ):
        values = np.array([s[name] for s in late], float)
        slope = np.polyfit([s["step"] / 1000 for s in late], values, 1)[0]
        found = (values[0], values[-1], values.max())
        rows.append([unit, *(f"{value:.0f}" for value in found), f"{slope:+.3f}"])
    header = ["", "after a tenth", "at the end", "greatest", "slope per 1,000 steps"]
    return markdown.table(header, rows, "lr")


def costs(samples: list[dict], steps: int) -> list[float]:
    """Returns the CPU seconds of each tenth of the run."""
    marks = [
        next(s["cpu_seconds"] for s in samples if s["step"] >= part * steps / 10)
        for part in range(11)
    ]
    return list(np.diff(marks))


def memory(samples: list[dict], steps: int) -> list[float]:
    """Returns the median memory of each tenth of the run, MiB; a leak rises evenly."""
    parts: list[list[float]] = [[] for _ in range(10)]
    for sample in samples:
        if sample["step"] < steps:
            parts[sample["step"] * 10 // steps].append(sample["rss_mib"])
    return [float(np.median(part)) for part in parts]


def speeds(rows: list[dict]) -> list[float]:
    """Returns the expressions per second of all windows after the first fifth."""
    found = [row["expressions_per_second"] for row in rows if "loss" in row]
    return found[len(found) // 5 :]


def main() -> None:
    """Runs the benchmark and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = pathlib.Path(__file__).parent
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--data_dir", type=typed, default="data")
    parser.add_argument("--output", type=typed, default=str(here / "long_run.md"))
    arguments = parser.parse_args()
    steps, data_dir = arguments.steps, pathlib.Path(arguments.data_dir)
    if steps % 20_000:
        parser.error("--steps must be a multiple of 20,000, for equal tenths")
    with tempfile.TemporaryDirectory() as folder:
        workdir, fresh = pathlib.Path(folder) / "run", pathlib.Path(folder) / "fresh"
        started = time.monotonic()
        samples = train(workdir, steps, data_dir)
        minutes = (time.monotonic() - started) / 60
        train(fresh, steps // 10, data_dir)
        long = speeds(read(workdir / "metrics.jsonl"))
        new = np.median(speeds(read(fresh / "metrics.jsonl")))
    parts = [np.median(part) for part in np.array_split(long, 8)]
    cost = costs(samples, steps)
    lines = [
        f"# {steps:,} steps\n",
        f"Made by `python -m benchmarks.long_run --steps={steps}`: configs/shapes.py, "
        f"two scenes per step, {minutes:.0f} minutes. jax {jax.__version__}, Python "
        f"{platform.python_version()}, CPU.\n",
        *table(samples, steps),
        "\nMedian memory of each tenth: "
        f"{', '.join(f'{m:.0f}' for m in memory(samples, steps))} MiB.\n",
        f"CPU seconds of each tenth: {', '.join(f'{c:.0f}' for c in cost)}. The last "
        f"is {cost[-1] / cost[1]:.3f} of the second (the first compiles).\n",
        "Median speed of each tenth from the third on: "
        f"{', '.join(f'{speed:.0f}' for speed in parts)} expressions/s. A new process "
        f"right afterwards: {new:.0f}. The last tenth is {parts[-1] / new:.3f} of "
        "that.",
    ]
    pathlib.Path(arguments.output).write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
