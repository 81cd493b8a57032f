"""Kills training again and again, and compares its end with that of a run left alone.

    python -m benchmarks.chaos --kills=20

Each scenario trains the same 60 steps twice by main.py: once straight, and once killed
with SIGKILL at random moments and started again by the same command. Parameters, the
optimizer's state, the history of metrics and the best checkpoint have to be equal bit
for bit. Writes chaos.md beside this file.
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
from restr_jax import checkpoint, experiment
from restr_jax.config_checks import read_config

# When a process is killed, and how often so: at any time, some time after a line of
# metrics, while a checkpoint is written (between its first file and the move that makes
# it count), or while the validation split is scored. The last kill hits the scoring
# after training.
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
    """Waits for a moment and kills.

    Args:
        run: what is killed.
        moment: of `MOMENTS`.
        config: of the run.
        rng: draws how long after that.
        limit: the step at which it is killed at once, so that all kills find a run to
            hit; None for the last kill.

    Returns:
        Where the run was, or None if it ended by itself.
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
    """Returns everything that has to be equal."""
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
    """Names what is not equal bit for bit."""

    def equal(a, b) -> bool:
        a_leaves, b_leaves = jax.tree.leaves(a), jax.tree.leaves(b)
        return len(a_leaves) == len(b_leaves) and all(
            np.array_equal(x, y) for x, y in zip(a_leaves, b_leaves, strict=True)
        )

    return [name for name in one if not equal(one[name], other[name])]


def straight_run(scenario: Scenario, folder: pathlib.Path) -> pathlib.Path:
    """Returns the workdir of a run that nothing kills; it is run once in a folder."""
    _, file = chaos_data.write_config(folder)
    workdir = _workdir(scenario, folder, "straight")
    if not (workdir / "eval" / "results.json").exists():
        run = Run(scenario, file, workdir)
        codes = run.wait()
        if any(codes):
            raise RuntimeError(f"It ended with {codes}; see {run.log.name}.")
    return workdir


def _workdir(scenario: Scenario, folder: pathlib.Path, kind: str) -> pathlib.Path:
    name = scenario.name.replace(" ", "-").replace(",", "")
    return folder / f"{name}-{kind}"


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
        # After so many of the kills so many of the steps: they spread over all of them.
        done, total = hit.total() + 1, config.optimizer.total_steps
        limit = total * done // kills if done < kills else None
        where = kill_at(run, moment, config, rng, limit)
        if where is None:
            codes = run.wait()
            raise RuntimeError(
                f"A run ended by itself with {codes}; see {run.log.name}."
            )
        hit[where] += 1
    if any(codes):
        raise RuntimeError(f"The last run ended with {codes}; see {run.log.name}.")
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
