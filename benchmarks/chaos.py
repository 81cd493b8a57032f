"""Kills training repeatedly and compares the result with an uninterrupted run.

    python -m benchmarks.chaos --kills=20

Each scenario trains the same 60 steps twice with main.py: once uninterrupted, and once
killed with SIGKILL at random moments and restarted with the same command. Parameters,
optimizer state, metric history and best checkpoint have to be bit-identical. Writes
chaos.md beside this file.
"""

import argparse
import collections
import json
import pathlib
import platform
import random
import tempfile
import time

import jax
import ml_collections
import numpy as np

from benchmarks import chaos_data
from benchmarks.chaos_run import Run, Scenario
from restr_jax import experiment
from restr_jax.workdir import checkpoint
from restr_jax.workdir.config_checks import read_config
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

# Moments of a kill and their weights: any time, some time after a line of metrics,
# while a checkpoint is written (between its first file and the final rename), or while
# the validation split is scored. The last kill hits the scoring after training.
MOMENTS = {"any": 2, "step": 4, "save": 3, "evaluation": 2}
_TIMED = ("expressions_per_second", "minutes_left", "input_wait")

SCENARIOS = (
    Scenario("1 device, no worker"),
    Scenario("1 device, 4 workers", workers=4),
    Scenario("8 devices, no worker", devices=8),
    Scenario("8 devices, 4 workers", workers=4, devices=8),
    Scenario("2 processes, one of them killed", processes=2),
)


def kill_at(
    run: Run, moment: str, config, rng: random.Random, limit: int | None
) -> str | None:
    """Waits for a moment and kills the run.

    Args:
        run: the run to kill.
        moment: a key of `MOMENTS`.
        config: configuration of the run.
        rng: draws the delay after the moment.
        limit: step at which the run is killed at once, so that steps remain for all
            kills; None for the last kill.

    Returns:
        The phase of the run when it was killed, or None if it ended by itself.
    """
    reached = None
    delay = rng.uniform(0, {"any": 12, "step": 0.5}.get(moment, 0.025))
    while run.alive():
        time.sleep(0.004)
        if limit is None:
            now = run.trained(config)
        elif moment == "any":
            now = True
        elif moment == "step":
            now = bool(run.lines())
        elif moment == "save":
            now = run.saving()
        else:
            now = run.scoring(config)
        if reached is None and now:
            reached = time.monotonic()
        due = reached is not None and time.monotonic() - reached > delay
        late = limit is not None and any(step >= limit for step, _ in run.lines())
        if not due and not late:
            continue
        run.kill(rng)
        if run.saving():
            return "save"
        if run.scoring(config):
            return "evaluation"
        return "step" if run.lines() else "start"
    return None


def digest(workdir: pathlib.Path) -> dict:
    """Returns everything that has to be bit-identical."""
    config = ml_collections.ConfigDict(read_config(workdir))
    run = experiment.start(config, str(workdir), training=False)
    checkpoints = run.checkpoints(read_only=True)
    last, best = checkpoints.steps()[-1], checkpoints.best_step()
    state = checkpoints.restore(last, run.abstract_state).state
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
    """Returns the names of entries that are not bit-identical."""

    def equal(a, b) -> bool:
        a_leaves, b_leaves = jax.tree.leaves(a), jax.tree.leaves(b)
        return len(a_leaves) == len(b_leaves) and all(
            np.array_equal(x, y) for x, y in zip(a_leaves, b_leaves, strict=True)
        )

    return [name for name in one if not equal(one[name], other[name])]


def straight_run(scenario: Scenario, folder: pathlib.Path) -> pathlib.Path:
    """Returns the workdir of an uninterrupted run; a folder needs only one."""
    _, file = chaos_data.write_config(folder)
    workdir = _workdir(scenario, folder, "straight")
    if not (workdir / "eval" / "results.json").exists():
        run = Run(scenario, file, workdir)
        codes = run.wait()
        if any(codes):
            raise RuntimeError(f"The run exited with {codes}; see {run.log.name}.")
    return workdir


def _workdir(scenario: Scenario, folder: pathlib.Path, kind: str) -> pathlib.Path:
    name = scenario.name.replace(" ", "-").replace(",", "")
    return folder / f"{name}-{kind}"


def torment(
    scenario: Scenario, folder: pathlib.Path, kills: int, seed: int
) -> tuple[collections.Counter, list[str], int]:
    """Runs a scenario.

    Args:
        scenario: the scenario to run.
        folder: folder of the data, the workdirs and their logs.
        kills: number of kills of the second run.
        seed: seed of the moments.

    Returns:
        The number of kills by phase, the names of results that differ, and the number
        of starts.
    """
    config, file = chaos_data.write_config(folder)
    straight, broken = (
        straight_run(scenario, folder),
        _workdir(scenario, folder, "broken"),
    )
    rng, hit, starts = random.Random(seed), collections.Counter(), 0
    while True:
        run, starts = Run(scenario, file, broken), starts + 1
        if hit.total() >= kills:
            codes = run.wait()
            break
        moment = rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        # Kills and steps advance in proportion, so the kills spread over all steps.
        done, total = hit.total() + 1, config.optimizer.total_steps
        limit = total * done // kills if done < kills else None
        where = kill_at(run, moment, config, rng, limit)
        if where is None:
            codes = run.wait()
            raise RuntimeError(
                f"A run exited with {codes} before its kill; see {run.log.name}."
            )
        hit[where] += 1
    if any(codes):
        raise RuntimeError(f"The last run exited with {codes}; see {run.log.name}.")
    return hit, differences(digest(straight), digest(broken)), starts


def main() -> None:
    """Runs the scenarios and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output",
        type=typed,
        default=str(pathlib.Path(__file__).parent / "chaos.md"),
    )
    arguments = parser.parse_args()
    where = ("start", "step", "save", "evaluation")
    title = (
        f"# {arguments.kills} kills\n\nMade by `python -m benchmarks.chaos "
        f"--kills={arguments.kills} --seed={arguments.seed}`: {chaos_data.WHAT} "
        f"jax {jax.__version__}, Python {platform.python_version()}, CPU.\n"
    )
    header, rows = ["", "killed in all", *where, "differs in the end"], []
    with tempfile.TemporaryDirectory() as folder:
        for scenario in SCENARIOS:
            hit, differs, _ = torment(
                scenario, pathlib.Path(folder), arguments.kills, arguments.seed
            )
            counts = [hit.total(), *(hit[w] for w in where)]
            rows.append([scenario.name, *counts, ", ".join(differs) or "nothing"])
            lines = table(header, rows, "l" + "r" * len(counts) + "l")
            print(lines[-1], flush=True)
            pathlib.Path(arguments.output).write_text("\n".join([title, *lines]) + "\n")


if __name__ == "__main__":
    main()
