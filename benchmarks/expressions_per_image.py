"""Trains on `shapes` with K expressions per image; measures scores and speed.

    python -m benchmarks.expressions_per_image --data_dir=data --output=runs/k

All runs have about 32 expressions per step, so a larger K means fewer images. First
each K sees equally many expressions; then each gets the time that K = 1 took for them.
A scene has nine expressions, so its last part may have fewer than K.
"""

import argparse
import json
import logging
import os
import pathlib
import statistics

import jax

from benchmarks import reports
from configs import shapes
from restr_jax import train
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

PER_STEP, PER_SCENE = 32, 9


def make_config(k: int, expressions: int, data_dir: str):
    """Returns the configuration of a run over a number of expressions."""
    config = shapes.get_config()
    config.data.data_dir = data_dir
    config.data.expressions_per_image = k
    parts = -(-PER_SCENE // k)
    mean = PER_SCENE / parts  # mean expressions per image
    config.batch_size = round(PER_STEP / mean)
    steps = round(expressions / (config.batch_size * mean))
    config.optimizer.total_steps = steps
    config.log_every_steps = 25
    config.checkpoint_every_steps = config.eval.every_steps = 100_000  # At the end.
    config.eval.num_figures = 0
    return config


def run(k: int, expressions: int, data_dir: str, workdir: pathlib.Path) -> dict:
    """Trains and scores once."""
    config = make_config(k, expressions, data_dir)
    [row] = train.train_and_evaluate(config, str(workdir))
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rates = [r["expressions_per_second"] for r in map(json.loads, lines) if "loss" in r]
    return {
        "k": k,
        "batch_size": config.batch_size,
        "steps": config.optimizer.total_steps,
        "expressions": expressions,
        # The first window compiles.
        "expressions_per_second": statistics.median(rates[1:]),
        "oiou": row["oiou"],
        "oiou_shuffled_text": row["oiou_shuffled_text"],
    }


def describe(equal: list[dict], timed: list[dict]) -> str:
    """Formats results as Markdown."""
    header = ["K", "images a step", "expressions/s", "oIoU, equal expressions"]
    header += ["oIoU, equal time", "expressions in it"]
    rows = [
        [
            one["k"],
            one["batch_size"],
            f"{one['expressions_per_second']:.0f}",
            f"{one['oiou']:.3f}",
            f"{other['oiou']:.3f}",
            f"{other['expressions']:,}",
        ]
        for one, other in zip(equal, timed, strict=True)
    ]
    return "\n".join(table(header, rows, "r"))


def main() -> None:
    """Runs every K twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data_dir", type=typed, default="data", help="folder with shapes built"
    )
    parser.add_argument(
        "--output", type=typed, default="runs/k", help="folder of the workdirs"
    )
    parser.add_argument("--expressions", type=int, default=38_400)
    parser.add_argument("--k", default="1,2,4,8,9")
    parser.add_argument(
        "--results", type=typed, default="benchmarks/results/expressions_per_image.json"
    )
    arguments = parser.parse_args()
    logging.basicConfig()
    logging.getLogger("restr_jax").setLevel(logging.INFO)
    folder, seen = pathlib.Path(arguments.output), arguments.expressions
    every_k = [int(k) for k in arguments.k.split(",")]
    data_dir = arguments.data_dir
    equal = [run(k, seen, data_dir, folder / f"equal-{k}") for k in every_k]
    slowest = equal[0]["expressions_per_second"]
    timed = [equal[0]]
    for one in equal[1:]:
        more = round(seen * one["expressions_per_second"] / slowest)
        timed.append(run(one["k"], more, data_dir, folder / f"timed-{one['k']}"))
    record = {
        "equal_expressions": equal,
        "equal_time": timed,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
    }
    reports.write(arguments.results, record)
    print(describe(equal, timed))


if __name__ == "__main__":
    main()
