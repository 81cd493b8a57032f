"""Trains on `shapes` with GloVe and scores words that training never showed.

    python -m tfds_builders.prepare shapes --data_dir=data
    python -m benchmarks.words --glove=glove.6B.50d.txt --output=runs/words

Four runs of equal length: word table trained or frozen, with and without word dropout.
Each is scored on the unchanged test split, on synonyms and on an added word. A synonym
replaces one word of each expression, is known only to GloVe, and is read with GloVe's
vector or as an unknown word. The added word is in no vocabulary. The unknown word has
the run's vector or, as in earlier versions, a random untrained one.
"""

import argparse
import dataclasses
import itertools
import logging
import os
import pathlib

import jax
import numpy as np

from benchmarks import reports
from configs import shapes
from restr_jax import experiment, train
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary
from restr_jax.evaluation import metrics
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.models import parameters
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

SYNONYMS = {
    "red": "crimson",
    "green": "lime",
    "blue": "navy",
    "yellow": "golden",
    "circle": "sphere",
    "square": "box",
    "triangle": "pyramid",
    "small": "tiny",
    "large": "huge",
    "object": "thing",
    "above": "over",
    "below": "under",
}
FILLERS = "blickish", "daxing", "wugly"  # in no vocabulary
WAYS = "as they are", "synonym", "synonym, unknown", "added word"
SCENES = 150  # of the test split, with 1,350 expressions
RANDOM_ROWS = 3  # untrained vectors of the unknown word; scores are averaged


def make_config(arguments: argparse.Namespace, frozen: bool, dropout: float):
    """Returns the configuration of one run."""
    config = shapes.get_config()
    config.data.data_dir = arguments.data_dir
    config.data.glove = arguments.glove
    config.data.max_words = 12  # Two more than the scenes' grammar has.
    config.data.word_dropout = dropout
    config.model.language.width = 50
    config.optimizer.freeze_words = frozen
    config.optimizer.total_steps = arguments.steps
    config.optimizer.warmup_steps = 50
    config.log_every_steps = 25
    config.checkpoint_every_steps = config.eval.every_steps = 100_000  # At the end.
    config.eval.num_figures, config.eval.shuffled_text = 0, False
    config.eval.splits = "val"
    return config


def with_synonym(sentence: str, rng: np.random.Generator) -> str:
    """Replaces one word by its synonym, if any word has one."""
    words = sentence.split()
    places = [i for i, word in enumerate(words) if word in SYNONYMS]
    if places:
        place = rng.choice(places)
        words[place] = SYNONYMS[words[place]]
    return " ".join(words)


def with_filler(sentence: str, rng: np.random.Generator) -> str:
    """Inserts an unknown word at a random position."""
    words = sentence.split()
    words.insert(rng.integers(len(words) + 1), str(rng.choice(FILLERS)))
    return " ".join(words)


def change(split: Split, how) -> Split:
    """Returns a split with changed texts, the same ones in every run."""
    rng = np.random.default_rng(0)
    texts = [[how(s, rng) for s in of_record] for of_record in split.sentences]
    return dataclasses.replace(split, sentences=texts)


def score(run: experiment.Experiment, split: Split) -> list[dict[str, float]]:
    """Scores the last checkpoint, with its own and with random unknown-word vectors."""
    config, known = run.config, run.vocabulary
    trained = {
        word
        for of_record in run.data.training.sentences
        for sentence in of_record
        for word in known.tokenize(sentence)
    }
    count = len(known.special) + len(trained)
    if set(known.words[len(known.special) : count]) != trained:
        raise ValueError("The training words are not the first ones of the vocabulary.")
    seen = Vocabulary(known.words[:count])
    for word in SYNONYMS.values():
        if word in seen.ids or word not in known.ids:
            raise ValueError(f"{word!r} must be in GloVe but not in the training set.")
    split = dataclasses.replace(split, sentences=split.sentences[:SCENES])
    replaced, longer = change(split, with_synonym), change(split, with_filler)
    reads_all, reads_seen = (
        Evaluator(run.model, config, vocabulary, run.parallel)
        for vocabulary in (known, seen)
    )
    asked = [(reads_all, split), (reads_all, replaced)]
    # Only these contain unknown words.
    unknown = [(reads_seen, replaced), (reads_all, longer)]
    params = run.params(config.optimizer.total_steps)
    row = params["language"]["words"]["embedding"][known.unknown_id]
    own = collect(run, params, row, asked + unknown)
    rng = np.random.default_rng(config.seed)
    rows = rng.normal(0.0, 0.4, (RANDOM_ROWS, *row.shape))
    others = np.mean([collect(run, params, row, unknown) for row in rows], 0)
    scores = own, [*own[: len(asked)], *others.tolist()]
    return [dict(zip(WAYS, some, strict=True)) for some in scores]


def collect(run, params, unknown: np.ndarray, asked: list) -> list[float]:
    """Returns the oIoU of each (evaluator, split) pair, given the vector of `<unk>`."""
    table = np.array(params["language"]["words"]["embedding"])
    table[run.vocabulary.unknown_id] = unknown
    placed = run.parallel.replicate(parameters.put(params, {parameters.WORDS: table}))
    return [
        metrics.cumulative_iou(evaluator.collect(placed, split, 0.5))
        for evaluator, split in asked
    ]


def describe(rows: list[dict]) -> str:
    """Formats results as Markdown."""
    header = ["word table", "word dropout", "`<unk>`", *WAYS]
    cells = [
        [
            row["table"],
            f"{row['dropout']:g}",
            row["unknown"],
            *(f"{row[way]:.3f}" for way in WAYS),
        ]
        for row in rows
    ]
    return "\n".join(table(header, cells, "lrlr"))


def main() -> None:
    """Trains the four runs and scores each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--glove", type=typed, required=True, help="GloVe file, 50 values a word"
    )
    parser.add_argument(
        "--data_dir", type=typed, default="data", help="folder with shapes built"
    )
    parser.add_argument(
        "--output", type=typed, default="runs/words", help="folder of workdirs"
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument(
        "--results", type=typed, default="benchmarks/results/words.json"
    )
    arguments = parser.parse_args()
    logging.basicConfig()
    logging.getLogger("restr_jax").setLevel(logging.INFO)
    rows = []
    for dropout, frozen in itertools.product((0.0, arguments.dropout), (False, True)):
        config = make_config(arguments, frozen, dropout)
        table = "frozen" if frozen else "trained"
        workdir = str(pathlib.Path(arguments.output) / f"{table}-{dropout}")
        train.train_and_evaluate(config, workdir)
        run = experiment.start(config, workdir, training=False)
        scores = score(run, run.data.scored("test"))
        for unknown, row in zip(("own", "random"), scores, strict=True):
            about = {"table": table, "dropout": dropout, "unknown": unknown}
            rows.append(about | row)
        print(describe(rows), flush=True)
    record = {
        "rows": rows,
        "steps": arguments.steps,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
    }
    reports.write(arguments.results, record)


if __name__ == "__main__":
    main()
