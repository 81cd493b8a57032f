"""Trains `configs/photos.py` without each of its options, with equal budgets.

    python -m benchmarks.photos_options --data_dir=data/photos --vit=deit_tiny.npz \
        --glove=glove.6B.50d.txt --output=runs/options

Every run trains the first stage for --steps steps, from the same pretrained weights and
in the same order of the same expressions, then scores the first images of both
validation splits. Finished runs are not repeated, and an interrupted one resumes. The
rows are in --results and the table in the terminal (benchmarks/photos.md).
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys

import restr_jax
from benchmarks import photos, reports
from restr_jax.data import splits
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

HERE = pathlib.Path(__file__).parent

# By name: the keys that differ from configs/photos.py. Most are the paper's values.
VARIANTS = {
    "all options": {},
    "all options, another seed": {"seed": 41},
    "AdamW instead of Muon": {"optimizer.rule": "adamw"},
    "2 + 2 fusion layers": {"model.fusion.num_layers": 4},
    "no coordinates": {"model.fusion.coordinates": False},
    "fusion's input and output as in the paper": {
        "model.decode_projected": True,
        "model.fusion.input_std": 0.02,
        "model.fusion.norm_each": True,
    },
    "no dice": {"loss.dice_weight": 0.0},
    "patch loss of weight 0.1": {"loss.patch_weight": 0.1},
    "patches of at least 80 %": {"loss.patch_threshold": 0.8},
    "words frozen": {"optimizer.freeze_words": True},
    "no word dropout": {"data.word_dropout": 0.0},
    "no mirrored images": {"data.flip": False},
    "no colour jitter": {"data.color_jitter": 0.0},
    "the vision encoder at the full rate": {"optimizer.lr_scale.vision": 1.0},
    "no average of the parameters": {"optimizer.ema_decay": 0.0},
}


def command(
    changed: dict, workdir: pathlib.Path, arguments: argparse.Namespace
) -> list[str]:
    """Returns the command that trains one variant, without scoring it."""
    keys = {
        "data.data_dir": arguments.data_dir,
        "data.glove": arguments.glove,
        "init_from": arguments.vit,
        "optimizer.total_steps": arguments.steps,
        "checkpoint_every_steps": arguments.steps,
        "eval.every_steps": arguments.steps,
        # Scoring one split of a few images keeps the last step.
        "data.val_split": "instances/animals:val",
        "eval.splits": "instances/animals:val",
        "eval.shuffled_text": False,
        "eval.num_figures": 0,
    }
    flags = [f"--config.{key}={value}" for key, value in (keys | changed).items()]
    config = "--config=configs/photos.py:small"
    return [sys.executable, "main.py", config, f"--workdir={workdir}", *flags]


def score(workdir: pathlib.Path, data_dir: str, images: int) -> dict:
    """Scores the first images of both validation splits through the public API."""
    model, scores = restr_jax.load(str(workdir)), {}
    for name in photos.SETS:
        split = splits.open_split(data_dir, f"instances/{name}", "val")
        pairs = zip(split.source, split.sentences, strict=True)
        scores[name] = photos.summarize(
            row
            for record, sentences in itertools.islice(pairs, images)
            for row in photos.answer(model, record, photos.templates(record, sentences))
        )
    return scores


def last_loss(workdir: pathlib.Path, lines: int = 10) -> float:
    """Returns the mean training loss of the last lines of metrics.jsonl."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [row["loss"] for row in rows if "loss" in row][-lines:]
    return sum(losses) / len(losses)


def to_markdown(rows: dict[str, dict]) -> str:
    """Formats the rows as a table."""
    header = ["", "training loss"]
    for name in photos.SETS:
        header += [f"{name} oIoU", "right", "rivalled", "nothing empty", "empty"]
    lines = []
    for variant, row in rows.items():
        cells = [variant, f"{row['loss']:.3f}"]
        for name in photos.SETS:
            cells.append(f"{row[name]['oiou']:.3f}")
            keys = ("right", "right_rivalled", "empty_of_nothing", "empty")
            cells += [f"{100 * row[name][key]:.0f} %" for key in keys]
        lines.append(cells)
    return "\n".join(table(header, lines, "lr"))


def main() -> None:
    """Trains and scores every variant that --results lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", type=typed, default="data")
    parser.add_argument(
        "--vit", required=True, help="weights from restr_jax.pretrained"
    )
    parser.add_argument(
        "--glove", type=typed, required=True, help="GloVe's vectors of width 50"
    )
    parser.add_argument(
        "--output", type=typed, default="runs/options", help="for the workdirs"
    )
    results = HERE / "results" / "photos_options.json"
    parser.add_argument("--results", type=typed, default=str(results))
    parser.add_argument("--steps", type=int, default=100, help="steps of each run")
    parser.add_argument("--images", type=int, default=100, help="scored, of each set")
    arguments = parser.parse_args()

    path = pathlib.Path(arguments.results)
    budget = {"steps": arguments.steps, "images": arguments.images}
    rows = {}
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["budget"] != budget:
            parser.error(
                f"{path} has runs of {stored['budget']}, not {budget}; give the same "
                "numbers, or other --results."
            )
        rows = stored["rows"]
    for variant, changed in VARIANTS.items():
        if variant in rows:
            continue
        name = variant.replace(" ", "-").replace(",", "").replace("%", "percent")
        workdir = pathlib.Path(arguments.output) / name
        subprocess.run(command(changed, workdir, arguments), check=True)
        rows[variant] = {"changed": changed, "loss": last_loss(workdir)}
        rows[variant] |= score(workdir, arguments.data_dir, arguments.images)
        reports.write(path, {"budget": budget, "rows": rows})
        print(to_markdown(rows), flush=True)


if __name__ == "__main__":
    main()
