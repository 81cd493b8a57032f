"""Results on disk: rows of numbers as JSON, CSV and Markdown."""

import csv
import json
import pathlib

from restr_jax.files import write_whole

# The printed IoU (Table 1), by data set and split.
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
# What makes two rows the same result; a later run replaces it.
_IDENTITY = ("dataset", "split", "step", "threshold", "preset")


def add_rows(folder: pathlib.Path, rows: list[dict]) -> list[dict]:
    """Adds rows to results.json and writes results.csv and report.md anew.

    Returns:
        All rows, in the order of data set, split and step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    known = json.loads(path.read_text()) if path.exists() else []
    merged = {tuple(row[k] for k in _IDENTITY): row for row in [*known, *rows]}
    ordered = [merged[key] for key in sorted(merged)]
    write_whole(path, json.dumps(ordered, indent=2) + "\n")
    _write_csv(folder / "results.csv", ordered)
    write_whole(folder / "report.md", to_markdown(ordered))
    return ordered


def to_markdown(rows: list[dict]) -> str:
    """Lays rows out as tables; all numbers are fractions, as in the JSON."""
    lines = [
        "# Results",
        "",
        "oIoU is cumulative (the paper's IoU) and mIoU the mean over expressions, both",
        "at the images' own size. The stretched columns are scored at the network's",
        "input size. An empty prediction has IoU 0; P@x counts IoU >= x.",
        "",
    ]
    header = ["data set", "split", "step", "images", "expressions", "cut", "oIoU"]
    header += ["mIoU", "P@0.5", "P@0.7", "P@0.9", "stretched oIoU", "stretched mIoU"]
    header += ["paper oIoU", "oIoU, text shuffled"]
    lines += _table(header, [_main_cells(row) for row in rows])
    for row in rows:
        name = f"{row['dataset']} {row['split']}, step {row['step']}"
        lines += ["", f"## {name}: by length", ""]
        lines += _table(
            ["words", "expressions", "oIoU", "95 % interval"],
            [
                [
                    f"{b['min']}-{b['max']}",
                    b["count"],
                    _number(b["oiou"]),
                    "{:.4f} to {:.4f}".format(*b["ci95"]),
                ]
                for b in row["by_length"]
            ],
        )
        if "by_kind" in row:
            lines += ["", f"## {name}: by kind of expression", ""]
            kinds = row["by_kind"].items()
            lines += _table(
                ["kind", "expressions", "oIoU"],
                [[kind, k["count"], _number(k["oiou"])] for kind, k in kinds],
            )
    return "\n".join(lines) + "\n"


def _main_cells(row: dict) -> list:
    precision, stretched = row["precision"], row["stretched"]
    return [
        row["dataset"],
        row["split"],
        row["step"],
        row["num_images"],
        row["num_expressions"],
        row["threshold"],
        *map(_number, (row["oiou"], row["miou"])),
        *(_number(precision[x]) for x in ("0.5", "0.7", "0.9")),
        *map(_number, (stretched["oiou"], stretched["miou"])),
        _number(row["paper"]),
        _number(row.get("oiou_shuffled_text")),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(header: list, rows: list[list]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def _write_csv(path: pathlib.Path, rows: list[dict]) -> None:
    """Writes the scalar columns; nested ones get a name like precision.0.5."""
    flat = [_flatten(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(flat)


def _flatten(row: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            flat[prefix + name] = value
    return flat
