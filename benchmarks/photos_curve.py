"""Scores the kept checkpoints of consecutive runs, for a learning curve.

    python -m benchmarks.photos_curve --data_dir=data/photos \
        runs/photos_small runs/photos

The workdirs are the stages of one training, in their order; each starts from the one
before. Every checkpoint that is still there scores the first images of both validation
splits. The expressions and hours come from metrics.jsonl. Scored checkpoints are not
repeated. Writes --results and a picture beside it, and prints the table.
"""

import argparse
import json
import pathlib

import matplotlib.figure
import numpy as np

from benchmarks import photos, photos_options, reports
from tfds_builders.markdown import table

HERE = pathlib.Path(__file__).parent


def progress(workdir: pathlib.Path) -> tuple[list[int], list[float], int]:
    """Returns the logged steps, the hours up to each, and the expressions of a step.

    The hours are those of training: the expressions over their rate, without
    start-up and scoring.
    """
    config = json.loads((workdir / "config.json").read_text())
    per_step = config["batch_size"] * config["data"]["expressions_per_image"]
    steps, hours = [0], [0.0]
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        # A resumed run repeats the last steps of the interrupted one.
        if "expressions_per_second" not in row or row["step"] <= steps[-1]:
            continue
        seconds = (row["step"] - steps[-1]) * per_step / row["expressions_per_second"]
        steps.append(row["step"])
        hours.append(hours[-1] + seconds / 3600)
    return steps, hours, per_step


def checkpoints(workdirs: list[pathlib.Path]) -> list[dict]:
    """Returns the kept checkpoints of all stages with the totals up to them."""
    found, expressions, before = [], 0, 0.0
    for workdir in workdirs:
        steps, hours, per_step = progress(workdir)
        for folder in (workdir / "checkpoints").iterdir():
            if not folder.name.isdigit():
                continue
            step = int(folder.name)
            found.append(
                {
                    "checkpoint": f"{workdir.name}/{step}",
                    "path": str(folder),
                    "expressions": expressions + step * per_step,
                    "hours": round(before + float(np.interp(step, steps, hours)), 2),
                }
            )
        expressions, before = expressions + steps[-1] * per_step, before + hours[-1]
    return sorted(found, key=lambda row: row["expressions"])


def to_markdown(rows: list[dict]) -> str:
    """Formats the rows as a table."""
    keys = ("right", "right_rivalled", "empty_of_nothing", "empty")
    header = ["expressions", "hours"]
    for name in photos.SETS:
        header += [f"{name} oIoU", "right", "rivalled", "nothing empty", "empty"]
    lines = []
    for row in rows:
        cells = [f"{row['expressions']:,}", f"{row['hours']:.1f}"]
        for name in photos.SETS:
            cells.append(f"{row[name]['oiou']:.3f}")
            cells += [f"{100 * row[name][key]:.0f} %" for key in keys]
        lines.append(cells)
    return "\n".join(table(header, lines, "r"))


def plot(rows: list[dict], path: pathlib.Path) -> None:
    """Draws the scores over the expressions seen."""
    figure = matplotlib.figure.Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, len(photos.SETS), sharey=True)
    for axis, name in zip(axes, photos.SETS, strict=True):
        seen = [row["expressions"] / 1000 for row in rows]
        for key, label in (
            ("oiou", "oIoU"),
            ("right_rivalled", "right among rivals"),
            ("empty_of_nothing", "empty where nothing fits"),
        ):
            axis.plot(seen, [row[name][key] for row in rows], ".-", label=label)
        axis.set(title=f"{name}, val", xlabel="thousand expressions", ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].legend(loc="lower right")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Scores every checkpoint that --results lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdirs", nargs="+", type=pathlib.Path)
    parser.add_argument("--data_dir", default="data")
    results = HERE / "results" / "photos_curve.json"
    parser.add_argument("--results", default=results, type=pathlib.Path)
    parser.add_argument("--images", type=int, default=100, help="scored, of each set")
    arguments = parser.parse_args()

    path, known = arguments.results, {}
    if path.exists():
        known = {row["checkpoint"]: row for row in json.loads(path.read_text())}
    rows = []
    for row in checkpoints(arguments.workdirs):
        folder = pathlib.Path(row.pop("path"))
        if row["checkpoint"] in known:
            row |= {name: known[row["checkpoint"]][name] for name in photos.SETS}
        else:
            row |= photos_options.score(folder, arguments.data_dir, arguments.images)
        rows.append(row)
        reports.write(path, rows)
        print(to_markdown(rows[-1:]), flush=True)
    plot(rows, path.with_suffix(".png"))
    print(to_markdown(rows))


if __name__ == "__main__":
    main()
