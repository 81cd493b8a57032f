"""The figures page of a scoring: scores, plots and cases."""

import pathlib

from restr_jax.drawing import gallery, panels
from restr_jax.drawing.gallery import Plot, Result
from restr_jax.evaluation import report


def key(row: dict) -> str:
    """Returns the name that connects a row of results.json with its cases."""
    return "{checkpoint_id} {dataset}:{split} {threshold}".format_map(row)


def write(folder: pathlib.Path, rows: list[dict]) -> None:
    """Plots rows by step, and the last of each split by length; writes the page.

    Args:
        folder: the folder of results.json, with cases in its `figures`.
        rows: its rows, in their order.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    by_step = Plot("iou-by-step.png", _steps_in_words(rows))
    panels.plot_by_step(figures / by_step.file, rows)
    last = {(row["dataset"].replace("/", "-"), row["split"]): row for row in rows}
    by_length: dict[str, list[Plot]] = {}
    for (dataset, split), row in last.items():
        plot = Plot(f"iou-by-length-{dataset}-{split}.png", _lengths_in_words(row))
        panels.plot_by_length(figures / plot.file, row)
        by_length[key(row)] = [plot]
    gallery.write_page(
        figures,
        [
            Result(
                key(row),
                report.title(row),
                _headline(row),
                _scores(row),
                [by_step, *by_length.get(key(row), [])],
            )
            for row in rows
        ],
    )


def _headline(row: dict) -> tuple[str, str]:
    low, high = row["ci95"]
    name = f"oIoU, 95 % interval {low:.3f} to {high:.3f}"
    return name, f"{row['oiou']:.3f}"


def _scores(row: dict) -> list[tuple[str, str]]:
    """Returns names and values of the further scores, without those that lack."""
    named = {"mIoU": row["miou"]}
    named |= {f"Prec@{x}": row["precision"][x] for x in ("0.5", "0.7", "0.9")}
    named |= {"oIoU, text shuffled": row.get("oiou_shuffled_text")}
    named |= {"N-acc": row.get("n_acc"), "T-acc": row.get("t_acc")}
    named |= {"gIoU": row.get("giou"), "the paper's oIoU": row.get("paper")}
    scores = [(name, f"{x:.3f}") for name, x in named.items() if x is not None]
    counts = {"images": row["num_images"], "expressions": row["num_expressions"]}
    return scores + [(name, f"{count:,}") for name, count in counts.items()]


def _steps_in_words(rows: list[dict]) -> str:
    ends = [rows[0], rows[-1]] if len(rows) > 1 else rows
    values = ", ".join(f"{row['oiou']:.3f} in {report.title(row)}" for row in ends)
    return f"oIoU by step, {len(rows)} scores: {values}."


def _lengths_in_words(row: dict) -> str:
    values = ", ".join(
        f"{bucket['oiou']:.3f} for {bucket['min']} to {bucket['max']} words"
        for bucket in row["by_length"]
    )
    return f"oIoU by length of the expression: {values}."
