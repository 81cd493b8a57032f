"""Trains fusion variants on `shapes` with equal budgets and compares their scores.

    python -m benchmarks.ablations --data_dir=data --output=runs/ablations

Every variant trains with every seed, one run per core at a time. An interrupted run
resumes. The scores are written to --results and their tables to the terminal
(benchmarks/ablations.md).
"""

import argparse
import concurrent.futures
import functools
import logging
import multiprocessing
import os
import pathlib
import time

import numpy as np

from benchmarks import reports
from configs import ablations
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

# By name: arguments of `ablations.row`, and the paper's IoU on Gref val in Tables 3b
# (fusions without a decoder) and 4.
VARIANTS = {
    "CME": ({"kind": "cme", "decoder": True}, {"table 4": 0.5448}),
    "VME": ({"kind": "vme", "decoder": True}, {"table 3b": 0.5127}),
    "IME": ({"kind": "ime", "decoder": True}, {"table 3b": 0.4589}),
    "CME, shared": (
        {"kind": "cme", "decoder": True, "share_weights": True},
        {"table 3b": 0.5279, "table 4": 0.5407},
    ),
    "CME, no decoder": (
        {"kind": "cme", "decoder": False},
        {"table 3b": 0.5281, "table 4": 0.5281},
    ),
}
KINDS = ("attribute", "superlative", "relation")


def make_config(variant: str, seed: int, steps: int, data_dir: str):
    """Returns the configuration of one run; only variant and seed differ."""
    config = ablations.row(**VARIANTS[variant][0])("shapes")
    config.seed = seed
    config.data.data_dir = data_dir
    config.optimizer.total_steps = steps
    config.eval.every_steps = steps
    config.eval.num_figures = 0
    return config


def train_one(job: tuple[str, int], *, steps: int, data_dir: str, output: str) -> dict:
    """Trains and scores one variant with one seed; for VME, also analyses its seed."""
    # Imported late: on start, JAX counts the cores available to this process.
    import jax

    from restr_jax import analysis, train

    variant, seed = job
    config = make_config(variant, seed, steps, data_dir)
    name = variant.replace(",", "").replace(" ", "-").lower()
    workdir = pathlib.Path(output) / f"{name}-{seed}"
    started = time.monotonic()
    [row] = train.train_and_evaluate(config, str(workdir))
    result = {"variant": variant, "seed": seed, "oiou": row["oiou"]}
    result["oiou_shuffled_text"] = row["oiou_shuffled_text"]
    result |= {kind: row["by_kind"][kind]["oiou"] for kind in KINDS}
    result["seconds"] = round(time.monotonic() - started)
    if config.model.fusion.kind == "vme":
        found = analysis.analyse_workdir(config, str(workdir), "test")
        result["seed_attention"] = found["layers"]
    result["jax"] = jax.__version__
    return result


def _take_core(cores) -> None:
    """Binds a worker to a core of its own."""
    os.sched_setaffinity(0, {cores.get()})
    logging.basicConfig(format="%(process)d: %(message)s")
    logging.getLogger("restr_jax").setLevel(logging.INFO)


def describe(runs: list[dict]) -> str:
    """Formats results as Markdown: the scores by variant, then VME's seed."""
    header = ["variant", "oIoU", "spread", *KINDS, "text shuffled"]
    header += ["paper, Table 3b", "paper, Table 4"]
    rows = []
    for variant, (_, paper) in VARIANTS.items():
        own = [r for r in runs if r["variant"] == variant]
        if not own:
            continue
        oious = [r["oiou"] for r in own]
        cells = [np.mean(oious), np.std(oious, ddof=1) if len(oious) > 1 else 0.0]
        cells += [np.mean([r[k] for r in own]) for k in (*KINDS, "oiou_shuffled_text")]
        cells += [paper.get("table 3b"), paper.get("table 4")]
        rows.append([variant, *("" if c is None else f"{c:.4f}" for c in cells)])
    lines = table(header, rows, "lr")
    shares = [r["seed_attention"] for r in runs if "seed_attention" in r]
    if shares:
        lines += ["", *_shares_of_vme(shares)]
    return "\n".join(lines)


def _shares_of_vme(shares: list[list[dict]]) -> list[str]:
    tokens = list(shares[0][0])
    of_runs = np.array([[[row[t] for t in tokens] for row in run] for run in shares])
    rows = [
        [
            i,
            *(
                f"{100 * m:.1f} ({100 * least:.1f} to {100 * most:.1f})"
                for m, least, most in zip(mean, low, high, strict=True)
            ),
        ]
        for i, (mean, low, high) in enumerate(
            zip(of_runs.mean(0), of_runs.min(0), of_runs.max(0), strict=True), start=1
        )
    ]
    return table(["layer of VME", *tokens], rows, "lr")


def main() -> None:
    """Runs every variant with every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data_dir", type=typed, default="data", help="folder with shapes built"
    )
    parser.add_argument(
        "--output", type=typed, default="runs/ablations", help="for the workdirs"
    )
    parser.add_argument(
        "--results", type=typed, default="benchmarks/results/ablations.json"
    )
    parser.add_argument("--steps", type=int, default=1_200, help="steps of each run")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()

    available = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for core in available:
        cores.put(core)
    run = functools.partial(
        train_one,
        steps=arguments.steps,
        data_dir=arguments.data_dir,
        output=arguments.output,
    )
    jobs = [(v, seed) for seed in range(arguments.seeds) for v in VARIANTS]
    started = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(
        len(available), context, _take_core, (cores,)
    ) as pool:
        runs = list(pool.map(run, jobs))
    record = {
        "steps": arguments.steps,
        "cores": len(available),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "runs": runs,
    }
    reports.write(arguments.results, record)
    print(describe(runs))
    print(f"\n{record['minutes']} minutes on {record['cores']} cores")


if __name__ == "__main__":
    main()
