"""Scores checkpoints on splits at thresholds and writes the results."""

import json
import logging
import pathlib
import time

import jax
import ml_collections

from restr_jax import experiment, precision
from restr_jax.data import coverage, splits
from restr_jax.data.data_sets import listed
from restr_jax.data.splits import Split
from restr_jax.drawing import gallery
from restr_jax.evaluation import album, identity, metrics, page, report
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.experiment import Experiment
from restr_jax.files import write_whole
from restr_jax.workdir import choice
from restr_jax.workdir.config_checks import read_config, with_newer_keys
from tfds_builders import published
from tfds_builders.storage.paths import typed

logger = logging.getLogger(__name__)

_POLL_SECONDS = 10.0
EMPTY_RULE = "an empty prediction has IoU 0"


def score_workdir(config, workdir: str) -> list[dict]:
    """Scores the checkpoints that ``config.eval`` names, without training.

    Args:
        config: the configuration of the workdir. If ``config.eval.checkpoints`` is a
            folder of other workdirs, each of those uses its own configuration, and only
            data and scoring follow this one.
        workdir: workdir of a trained model, or output folder for results of others.

    Returns:
        All rows of eval/results.json.

    Raises:
        FileNotFoundError: if there is nothing to score.
        ValueError: if the configuration is invalid or no checkpoint is readable.
    """
    folder = pathlib.Path(typed(workdir)) / "eval"
    others = pathlib.Path(typed(config.eval.checkpoints))
    if not choice.is_choice(config.eval.checkpoints) and others.is_dir():
        runs = _open_others(config, others)
    else:
        runs = [experiment.start(config, workdir, training=False)]
    rows: list[dict] = []
    for run in runs:
        scored = (run.data.scored(name) for name in listed(run.config.eval.splits))
        coverage.warn(scored, run.vocabulary, run.config.data.max_words)
        evaluator = Evaluator(run.model, run.config, run.vocabulary, run.parallel)
        rows = score_checkpoints(run, evaluator, folder)
    if jax.process_index() == 0:
        print("\n".join(report.summary(rows)))
    return rows


def score_checkpoints(
    run: Experiment, evaluator: Evaluator, folder: pathlib.Path
) -> list[dict]:
    """Scores the checkpoints, splits and thresholds that ``config.eval`` names.

    Every pair of a checkpoint and a split is one pass of the model. Rows that
    results.json already has for the same weights, data and code are not scored again.

    Args:
        run: the experiment.
        evaluator: evaluator of the experiment's model.
        folder: output folder of results.json, results.csv, report.md, predictions and
            figures.

    Returns:
        All rows of results.json.

    Raises:
        FileNotFoundError: if a checkpoint or the data set does not exist.
        ValueError: if no checkpoint is readable.
    """
    config, main = run.config, jax.process_index() == 0
    if main:
        report.open_folder(folder)
    opened = [run.data.scored(name) for name in listed(config.eval.splits)]
    names = {split.name: identity.of_split(split) for split in opened}
    done: set[int] = set()
    faults: list[str] = []
    rows: list[dict] = []
    while True:
        new = [step for step in _steps(run) if step not in done]
        for step in new:
            done.add(step)
            try:
                params = run.params(step)
            except ValueError as error:
                logger.warning("skipping unreadable checkpoint %d: %s", step, error)
                faults.append(str(error))
                continue
            _Sweep(run, evaluator, folder, params, step).score(opened, names)
        if new:
            rows = run.parallel.gather(report.read_rows(folder) if main else [])
            if main and rows:
                page.write(folder, rows)
        if not config.eval.watch or config.optimizer.total_steps in done:
            break
        time.sleep(_POLL_SECONDS)
    if len(faults) == len(done):
        raise ValueError(f"No checkpoint is readable: {faults[0]}")
    if main:
        logger.info("scores and figures: %s", folder)
    return rows


def _steps(run: Experiment) -> list[int]:
    """Returns the steps to score; the first process decides for all."""
    checkpoints = run.checkpoints(read_only=True)
    if run.config.eval.watch:
        steps = checkpoints.steps()
    else:
        steps = checkpoints.select(run.config.eval.checkpoints)
    checkpoints.close()
    return run.parallel.gather(steps if jax.process_index() == 0 else [])


def _selected_on(config) -> str | None:
    """Returns the split whose scores selected the checkpoint, or None."""
    if config.eval.watch or config.eval.checkpoints != "best":
        return None
    dataset, _, split = config.data.val_split.rpartition(":")
    return f"{dataset or config.data.dataset}:{split}"


class _Sweep:
    """Scores one checkpoint over splits and thresholds."""

    def __init__(
        self,
        run: Experiment,
        evaluator: Evaluator,
        folder: pathlib.Path,
        params: dict,
        step: int,
    ):
        """Keeps the parameters as NumPy arrays; `score` moves them to the devices."""
        self._run, self._evaluator, self._folder = run, evaluator, folder
        self._given, self._params, self._step = params, None, step
        place = run.workdir.absolute() / "checkpoints" / str(step)
        self._checkpoint = str(place)
        self._checkpoint_id = identity.of_params(params)
        self._version = identity.of_code()
        self._thresholds = tuple(run.config.eval.thresholds)

    def score(self, opened: list[Split], names: dict[str, str]) -> None:
        """Adds the missing rows of every split.

        Args:
            opened: the splits.
            names: the `identity.of_split` digests, by split.
        """
        for split in opened:
            cards = [self._card(split, names, cut) for cut in self._thresholds]
            main = jax.process_index() == 0
            known = self._run.parallel.gather(
                report.read_rows(self._folder) if main else []
            )
            # A run is known by its weights, data and code. Its path may change.
            wanted = [{k: x for k, x in c.items() if k != "checkpoint"} for c in cards]
            same = [[row for row in known if w.items() <= row.items()] for w in wanted]
            if all(same):
                logger.info("%s, step %d: already scored", split.name, self._step)
                if main:
                    self._mark([row for rows in same for row in rows])
                continue
            if self._params is None:
                self._params = self._run.parallel.replicate(self._given)
            for row in self._score(split, cards):
                if main:
                    report.add_rows(self._folder, [row])
                logger.info(
                    "%s, step %d: %s", split.name, self._step, report.in_words(row)
                )

    def _mark(self, rows: list[dict]) -> None:
        """Updates rows scored before their checkpoint was selected, or was moved."""
        chosen = _selected_on(self._run.config)
        now = {"checkpoint": self._checkpoint}
        now |= {"selected_on": chosen} if chosen else {}
        if any(not now.items() <= row.items() for row in rows):
            report.add_rows(self._folder, [row | now for row in rows])

    def _card(self, split: Split, names: dict[str, str], threshold: float) -> dict:
        """Returns the fields that identify a row."""
        config = self._run.config
        dataset, split_name = split.name.split(":")
        return {
            "dataset": dataset,
            "split": split_name,
            "step": self._step,
            "checkpoint": self._checkpoint,
            "checkpoint_id": self._checkpoint_id,
            "dataset_id": names[split.name],
            "preset": config.preset,
            "resize": config.data.resize,
            "dtype": precision.compute_dtype(config.dtype).name,
            "threshold": threshold,
            "empty_rule": EMPTY_RULE,
            "version": self._version,
        }

    def _score(self, split: Split, cards: list[dict]) -> list[dict]:
        """Scores one split, writes predictions and figures, and returns the rows."""
        config, folder = self._run.config, self._folder
        name = f"{split.name.replace('/', '-').replace(':', '-')}-{self._step}"
        if folder.parent != self._run.workdir:
            name = f"{self._run.workdir.name}-{name}"
        for inside in ("predictions", "figures"):
            (folder / inside).mkdir(parents=True, exist_ok=True)
        records = self._evaluator.gather(
            [
                (one.position, one.records)
                for one in self._evaluator.score(self._params, split, self._thresholds)
            ]
        )
        rows = []
        for card, of_threshold in zip(cards, records, strict=True):
            buckets = published.length_buckets(card["dataset"])
            row = card | {"selected_on": _selected_on(config)}
            row |= metrics.summarize(of_threshold, buckets)
            rows.append(report.with_paper(row))
        if config.eval.shuffled_text:
            shuffled = splits.with_shuffled_text(split, config.seed)
            rows[0]["oiou_shuffled_text"] = self._evaluator.oiou(
                self._params, shuffled, self._thresholds[0]
            )
        if jax.process_index() == 0:
            cases = album.draw(
                folder / "figures",
                name,
                split,
                _by_position(split, records[0]),
                config.eval.num_figures,
                config.seed,
            )
            key = page.key(cards[0])
            gallery.add_cases(folder / "figures", [c | {"result": key} for c in cases])
            for threshold, of_threshold in zip(self._thresholds, records, strict=True):
                path = folder / "predictions" / f"{name}-{threshold}.jsonl"
                head = {"split": split.name, "threshold": threshold}
                marked = [head | record for record in of_threshold]
                write_whole(path, "".join(json.dumps(r) + "\n" for r in marked))
        return rows


def _by_position(split: Split, records: list[dict]) -> dict[album.Position, dict]:
    """Maps (image, expression) positions to records."""
    positions = [
        (i, k) for i, some in enumerate(split.sentences) for k in range(len(some))
    ]
    return dict(zip(positions, records, strict=True))


def _open_others(config, folder: pathlib.Path) -> list[Experiment]:
    """Opens the workdirs in a folder, each with its own configuration.

    Scoring options, data folder and devices follow `config`, since a run's own devices
    may be unavailable.

    Raises:
        FileNotFoundError: if the folder has no trained workdir.
    """
    runs = []
    for path in sorted(folder.glob("*/config.json")):
        stored = with_newer_keys(read_config(path.parent), config.to_dict())
        theirs = ml_collections.ConfigDict(stored)
        # The scoring interval has to match the run's checkpoint interval.
        own = {"every_steps": theirs.eval.every_steps}
        theirs.eval = ml_collections.ConfigDict(config.eval.to_dict() | own)
        theirs.data.data_dir = config.data.data_dir
        theirs.parallel, theirs.fsdp = config.parallel, config.fsdp
        run = experiment.start(theirs, str(path.parent), training=False)
        checkpoints = run.checkpoints(read_only=True)
        steps, best = checkpoints.steps(), checkpoints.best_step()
        checkpoints.close()
        if not steps:
            logger.warning("skipping %s, which has no checkpoint", path.parent)
            continue
        theirs.eval.checkpoints = "latest" if best is None else "best"
        runs.append(run)
    if not runs:
        raise FileNotFoundError(
            f"config.eval.checkpoints={folder} is a folder without trained workdirs. "
            "Set it to a folder of workdirs, each with config.json and checkpoints."
        )
    return runs
