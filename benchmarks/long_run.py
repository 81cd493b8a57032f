"""Trains for long, and watches memory, open files, threads and speed.

    python -m benchmarks.long_run --steps=20000

main.py trains a tiny model with scoring and checkpoints; beside it its memory (resident
set), file descriptors and threads are read once a second. The first tenth, in which
everything is compiled and made once, is left out of the slopes. Writes long_run.md
beside this file.
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

from benchmarks import chaos_data

ROOT = pathlib.Path(__file__).parent.parent
_EVERY_SECONDS = 1.0


def watch(command: list[str], metrics: pathlib.Path) -> list[dict]:
    """Runs a command to its end; returns what was seen of it.

    Args:
        command: what is run.
        metrics: its metrics.jsonl, whose last line says the step.
    """
    samples: list[dict] = []
    process = psutil.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(_EVERY_SECONDS)
        try:
            with process.oneshot():
                sample = {
                    "rss_mib": process.memory_info().rss / 2**20,
                    "descriptors": process.num_fds(),
                    "threads": process.num_threads(),
                }
        except psutil.Error:  # It has ended meanwhile.
            break
        rows = read(metrics)
        samples.append({"step": rows[-1]["step"] if rows else 0} | sample)
    if process.wait():
        raise RuntimeError(f"{command} ended with {process.returncode}.")
    return samples


def read(metrics: pathlib.Path) -> list[dict]:
    """Returns the whole lines of metrics.jsonl."""
    text = metrics.read_text() if metrics.exists() else ""
    return [
        json.loads(line) for line in text.splitlines(keepends=True) if line[-1:] == "\n"
    ]


def summarize(samples: list[dict], rows: list[dict], steps: int) -> list[str]:
    """Returns the lines of the table."""
    late = [s for s in samples if steps / 10 < s["step"] < steps]
    lines = ["| | after a tenth | at the end | greatest | slope per 1,000 steps |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name, unit in (
        ("rss_mib", "memory, MiB"),
        ("descriptors", "file descriptors"),
        ("threads", "threads"),
    ):
        values = np.array([s[name] for s in late], float)
        slope = np.polyfit([s["step"] / 1000 for s in late], values, 1)[0]
        lines.append(
            f"| {unit} | {values[0]:.0f} | {values[-1]:.0f} | {values.max():.0f} | "
            f"{slope:+.3f} |"
        )
    speeds = [r["expressions_per_second"] for r in rows if "loss" in r]
    tenth = len(speeds) // 10
    first, last = np.median(speeds[tenth : 2 * tenth]), np.median(speeds[-tenth:])
    lines.append(
        f"\nSpeed, the median of the second tenth and of the last: {first:.0f} and "
        f"{last:.0f} expressions/s, a ratio of {last / first:.3f}."
    )
    return lines


def main() -> None:
    """Runs, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = pathlib.Path(__file__).parent
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--output", type=pathlib.Path, default=here / "long_run.md")
    arguments = parser.parse_args()
    changed = {
        "optimizer.total_steps": arguments.steps,
        "batch_size": 2,
        "log_every_steps": 100,
        "checkpoint_every_steps": 500,
        "eval.every_steps": 1000,
    }
    with tempfile.TemporaryDirectory() as folder:
        _, file = chaos_data.write_config(pathlib.Path(folder))
        workdir = pathlib.Path(folder) / "run"
        command = [sys.executable, "main.py", f"--config={file}"]
        command += [f"--workdir={workdir}"]
        command += [f"--config.{key}={value}" for key, value in changed.items()]
        started = time.monotonic()
        samples = watch(command, workdir / "metrics.jsonl")
        minutes = (time.monotonic() - started) / 60
        rows = read(workdir / "metrics.jsonl")
    lines = [
        f"# {arguments.steps:,} steps\n",
        f"By `python -m benchmarks.long_run --steps={arguments.steps}`: two scenes of "
        "three expressions a step, a checkpoint every 500 steps, scored every 1,000; "
        f"{minutes:.1f} minutes. jax {jax.__version__}, Python "
        f"{platform.python_version()}, CPU.\n",
        *summarize(samples, rows, arguments.steps),
    ]
    arguments.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
