"""Result tables on disk, as JSON, CSV and Markdown."""

import csv
import json
import pathlib

from flax.traverse_util import flatten_dict

from restr_jax.evaluation import metrics
from restr_jax.files import locked, read_json, unwritable, write_whole
from tfds_builders import published
from tfds_builders.markdown import table

# The paper's IoU (Table 1), by data set and split.
PAPER_OIOU = {
    ("referit/text_objseg", "test"): 0.7018,
    ("unc", "val"): 0.6722,
    ("unc", "testA"): 0.6930,
    ("unc", "testB"): 0.6445,
    ("unc_plus", "val"): 0.5578,
    ("unc_plus", "testA"): 0.6044,
    ("unc_plus", "testB"): 0.4827,
    ("gref/google", "val"): 0.5448,
}
# The paper's IoU by length (Table 2), in the order of `published.length_buckets`. The
# paper does not name the splits; these are the ones that its ablations use.
PAPER_BY_LENGTH = {
    ("gref/google", "val"): (0.5872, 0.5347, 0.5396, 0.5191),
    ("unc", "val"): (0.7238, 0.6946, 0.6119, 0.5021),
    ("unc_plus", "val"): (0.6572, 0.5481, 0.4765, 0.3702),
    ("referit/text_objseg", "test"): (0.8082, 0.6978, 0.6366, 0.5073),
}
# Rows with equal values here are the same result if they have the same checkpoint, or
# the same weights: a workdir may be retrained, moved, or named by another path.
_IDENTITY = ("dataset", "split", "threshold", "preset")
_WEIGHTS = ("step", "checkpoint_id", "resize", "dtype")


def read_rows(folder: pathlib.Path) -> list[dict]:
    """Returns the rows of results.json, an empty list if it does not exist.

    Raises:
        ValueError: if results.json is damaged.
    """
    path = folder / "results.json"
    if not path.exists():
        return []
    return read_json(
        path,
        lambda rows: all(
            {*_IDENTITY, "checkpoint", "step"} <= row.keys() for row in rows
        ),
        "Remove this file; its rows are scored again.",
    )


def open_folder(folder: pathlib.Path) -> None:
    """Creates the folder of results.json, and finds early that it takes no results.

    Raises:
        OSError: if it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    with locked(folder / ".lock"):
        pass


def with_paper(row: dict) -> dict:
    """Returns a row with the paper's numbers added, None where there are none."""
    of = row["dataset"], row["split"]
    printed = PAPER_BY_LENGTH.get(of, ())
    buckets = published.length_buckets(row["dataset"])
    by_length = [
        bucket | {"paper": printed[i] if printed else None}
        for bucket in row["by_length"]
        for i, ends in enumerate(buckets)
        if ends == (bucket["min"], bucket["max"])
    ]
    return row | {"paper": PAPER_OIOU.get(of), "by_length": by_length}


def add_rows(folder: pathlib.Path, rows: list[dict]) -> list[dict]:
    """Adds rows to results.json and rewrites results.csv and report.md.

    A row replaces an earlier one of the same result.
    A lock makes this safe for concurrent processes.

    Returns:
        All rows, sorted by data set, split, run, step and threshold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        merged: list[dict] = []
        for row in [*read_rows(folder), *rows]:
            merged = [one for one in merged if not _is_same(one, row)] + [row]
        ordered = sorted(merged, key=_order)
        write_whole(folder / "results.json", json.dumps(ordered, indent=2) + "\n")
        _write_csv(folder / "results.csv", ordered)
        write_whole(folder / "report.md", to_markdown(ordered))
    return ordered


def _is_same(one: dict, other: dict) -> bool:
    """Returns True if two rows are the same result."""

    def agree(fields: tuple[str, ...]) -> bool:
        return all(one.get(field) == other.get(field) for field in fields)

    weights = "checkpoint_id" in one and agree(_WEIGHTS)
    return agree(_IDENTITY) and (weights or agree(("checkpoint",)))


def _order(row: dict) -> tuple:
    run = pathlib.Path(row["checkpoint"]).parent
    return row["dataset"], row["split"], str(run), row["step"], row["threshold"]


def summary(rows: list[dict]) -> list[str]:
    """Formats the main numbers as a Markdown table, one line per row."""
    header = ["data set", "split", "run", "step", "images", "expressions", "threshold"]
    header += ["oIoU", "95 % interval", "mIoU", "P@0.5", "P@0.7", "P@0.9"]
    header += ["stretched oIoU", "stretched mIoU", "paper oIoU", "oIoU, text shuffled"]
    header += ["checkpoint chosen on"]
    return table(header, [_main_cells(row) for row in rows])


# Further fields of a row that report.md lists.
_CARD = ("checkpoint", "checkpoint_id", "dataset_id", "preset", "resize", "empty_rule")
_CARD += ("version", "selected_on")

_CHOSEN_HERE = "this split (!)"
_CHOSEN_NOTE = [
    f"{_CHOSEN_HERE}: the checkpoint was selected by its score on this same split, so",
    "the score is biased upwards. Score another split, or a checkpoint that was not",
    "selected by score (config.eval.checkpoints=latest).",
]
_GENERALIZED = ("n_acc", "t_acc", "giou", "ciou")
_GENERALIZED_NOTE = [
    "Expressions that fit nothing count only in N-acc, T-acc, gIoU and cIoU. N-acc is",
    "the share of them with an empty prediction, T-acc the share of the others with a",
    "non-empty one. gIoU and cIoU are mIoU and oIoU over both; where nothing fits, an",
    "empty prediction has IoU 1 and any other 0. The second rows empty predictions of",
    f"fewer than {metrics.FEWEST} pixels first, the rule of the paper on gRefCOCO.",
]


def to_markdown(rows: list[dict]) -> str:
    """Formats rows as Markdown tables; numbers are fractions, as in the JSON."""
    lines = [
        "# Results",
        "",
        "oIoU is cumulative (the paper's IoU) and mIoU the mean over expressions, both",
        "at the images' own size. The stretched columns are scored at the network's",
        "input size, with ground truth resized by nearest neighbour. P@x counts",
        "IoU >= x. Intervals are bootstrap intervals of 1000 draws of images.",
        "",
    ]
    if any("n_acc" in row for row in rows):
        lines += [*_GENERALIZED_NOTE, ""]
    lines += summary(rows)
    if any(chosen_here(row) for row in rows):
        lines += ["", *_CHOSEN_NOTE]
    for row in rows:
        lines += ["", f"## {title(row)}", ""]
        lines += [f"- {key}: {row.get(key)}" for key in _CARD]
        lines += ["", "By length:", ""]
        lines += table(
            ["words", "expressions", "oIoU", "95 % interval", "paper oIoU"],
            [
                [
                    f"{b['min']}-{b['max']}",
                    b["count"],
                    _number(b["oiou"]),
                    _interval(b),
                    _number(b["paper"]),
                ]
                for b in row["by_length"]
            ],
        )
        if "by_kind" in row:
            lines += ["", "By kind of expression:", ""]
            kinds = row["by_kind"].items()
            lines += table(
                ["kind", "expressions", "oIoU"],
                [[kind, k["count"], _number(k["oiou"])] for kind, k in kinds],
            )
        if "n_acc" in row:
            lines += ["", "With the expressions that fit nothing:", ""]
            rules = {"no pixel": row}
            if "under_50" in row:  # Rows of earlier versions lack it.
                rules[f"fewer than {metrics.FEWEST} pixels"] = row["under_50"]
            lines += table(
                ["fit nothing", "empty means", "N-acc", "T-acc", "gIoU", "cIoU"],
                [
                    [row["num_no_target"], rule, *(_number(x[n]) for n in _GENERALIZED)]
                    for rule, x in rules.items()
                ],
            )
    return "\n".join(lines) + "\n"


def title(row: dict) -> str:
    """Returns the heading of a row."""
    name = f"{row['dataset']} {row['split']}, {_run(row)}, step {row['step']}"
    return f"{name}, threshold {row['threshold']}"


def chosen_here(row: dict) -> bool:
    """Returns whether a row's checkpoint was selected on the row's own split."""
    return row.get("selected_on") == f"{row['dataset']}:{row['split']}"


def in_words(row: dict) -> str:
    """Formats the main numbers of a row as one line."""
    said = [f"oIoU {row['oiou']:.4f} over {row['num_expressions']} expressions"]
    if "oiou_shuffled_text" in row:
        said.append(f"{row['oiou_shuffled_text']:.4f} with shuffled text")
    kinds = row.get("by_kind", {}).items()
    said += [f"{kind} {k['oiou']:.4f}" for kind, k in kinds]
    if "n_acc" in row:
        said.append(
            f"empty masks for {row['n_acc']:.4f} of {row['num_no_target']} expressions "
            f"that fit nothing and for {1 - row['t_acc']:.4f} of the others"
        )
    return ", ".join(said)


def _main_cells(row: dict) -> list:
    precision, stretched = row["precision"], row["stretched"]
    return [
        row["dataset"],
        row["split"],
        _run(row),
        row["step"],
        row["num_images"],
        row["num_expressions"],
        row["threshold"],
        _number(row["oiou"]),
        _interval(row),
        _number(row["miou"]),
        *(_number(precision[x]) for x in ("0.5", "0.7", "0.9")),
        *map(_number, (stretched["oiou"], stretched["miou"])),
        _number(row["paper"]),
        _number(row.get("oiou_shuffled_text")),
        _CHOSEN_HERE if chosen_here(row) else row.get("selected_on") or "",
    ]


def _run(row: dict) -> str:
    """Returns the name of the workdir of a row's checkpoint."""
    return pathlib.Path(row["checkpoint"]).parent.parent.name


def _interval(row: dict) -> str:
    return "{:.4f} to {:.4f}".format(*row["ci95"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _write_csv(path: pathlib.Path, rows: list[dict]) -> None:
    """Writes scalar columns; nested ones get names like precision.0.5."""
    flat = [flatten_dict(row, sep=".") for row in rows]
    scalars = [{n: x for n, x in row.items() if type(x) is not list} for row in flat]
    columns = list(dict.fromkeys(name for row in scalars for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(scalars)
