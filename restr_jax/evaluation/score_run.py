"""Scores checkpoints of a run on splits, and writes everything about it."""

import json
import logging
import pathlib

import numpy as np

from restr_jax import experiment
from restr_jax.data import splits
from restr_jax.data.splits import Split
from restr_jax.evaluation import figures, metrics, report
from restr_jax.evaluation.evaluator import Evaluator, Scored, probability, to_mask
from restr_jax.experiment import Experiment
from tfds_builders import published

logger = logging.getLogger(__name__)


def score_workdir(config, workdir: str) -> list[dict]:
    """Scores what a workdir holds, without training; see `score_checkpoints`."""
    run = experiment.start(config, workdir, training=False)
    evaluator = Evaluator(run.model, config, run.vocabulary, run.parallel)
    return score_checkpoints(run, evaluator)


def score_checkpoints(run: Experiment, evaluator: Evaluator) -> list[dict]:
    """Scores the checkpoints and splits that ``config.eval`` names.

    Writes eval/results.json, results.csv, report.md, predictions and figures.

    Args:
        run: the experiment.
        evaluator: of the experiment's model.

    Returns:
        All rows of eval/results.json.

    Raises:
        FileNotFoundError: if a checkpoint or the data set does not exist.
    """
    config = run.config
    opened = [run.open_split(name) for name in config.eval.splits.split(",")]
    checkpoints = run.checkpoints()
    rows = []
    for step in checkpoints.select(config.eval.checkpoints):
        params = run.restore(checkpoints, step).params
        for split in opened:
            row = _score_split(run, evaluator, params, split, step)
            rows = report.add_rows(run.workdir / "eval", [row])
            logger.info("%s, step %d: %s", split.name, step, _in_words(row))
    checkpoints.close()
    logger.info("all scores and pictures: %s", run.workdir / "eval")
    return rows


def _score_split(
    run: Experiment, evaluator: Evaluator, params, split: Split, step: int
) -> dict:
    """Scores one split with one checkpoint; returns its row."""
    config, folder = run.config, run.workdir / "eval"
    dataset, split_name = split.name.split(":")
    name = f"{dataset.replace('/', '-')}-{split_name}-{step}"
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(parents=True, exist_ok=True)

    total = sum(map(len, split.sentences))
    rng = np.random.default_rng(config.seed)
    drawn = set(rng.permutation(total)[: config.eval.num_figures].tolist())
    records = []
    with (folder / "predictions" / f"{name}.jsonl").open("w") as file:
        for i, scored in enumerate(evaluator.score(params, split)):
            records.append(scored.record)
            file.write(json.dumps(scored.record) + "\n")
            if i in drawn:
                path = folder / "figures" / f"{name}-{i:06d}.png"
                _draw(path, scored, config.eval.threshold)

    row = {
        "dataset": dataset,
        "split": split_name,
        "step": step,
        "checkpoint": str(run.workdir / "checkpoints" / str(step)),
        "preset": config.preset,
        "threshold": config.eval.threshold,
    }
    row |= metrics.summarize(records, published.length_buckets(dataset))
    row["paper"] = report.PAPER_OIOU.get((dataset, split_name))
    if config.eval.shuffled_text:
        shuffled = splits.with_shuffled_text(split, config.seed)
        deaf = [scored.record for scored in evaluator.score(params, shuffled)]
        row["oiou_shuffled_text"] = metrics.cumulative_iou(deaf)
    return row


def _in_words(row: dict) -> str:
    """Says the main numbers of a row in a line."""
    said = [f"oIoU {row['oiou']:.4f} over {row['num_expressions']} expressions"]
    if "oiou_shuffled_text" in row:
        said.append(f"with their texts shuffled {row['oiou_shuffled_text']:.4f}")
    kinds = row.get("by_kind", {}).items()
    said += [f"{kind} {k['oiou']:.4f}" for kind, k in kinds]
    return ", ".join(said)


def _draw(path: pathlib.Path, scored: Scored, threshold: float) -> None:
    record = scored.record
    figures.draw_prediction(
        path,
        image=scored.example.original,
        expression=record["expression"],
        patch_probability=probability(scored.patch_logits),
        mask=to_mask(scored.logits, threshold),
        truth=scored.example.masks[scored.index],
        iou=record["iou"],
    )
