"""Scores a model of photographs as its users meet it, through the public API.

    python -m benchmarks.photos --model=runs/photos --data_dir=data

Scores the validation splits of instances/animals and instances/coco, whose expressions
are made by rule, and photos_sentences.jsonl: free sentences, for photographs of
these two splits. Prints the tables and writes results/photos.json.
"""

import argparse
import collections
import json
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

import restr_jax
from restr_jax.data import preprocess, splits
from restr_jax.data.splits import Split
from restr_jax.evaluation import metrics
from restr_jax.segmenter import EncodedImage, Segmenter

SETS = ("animals", "coco")
HERE = pathlib.Path(__file__).parent
SENTENCES = HERE / "photos_sentences.jsonl"

# An expression, its kind, and the place of its object in the record, or -1.
Asked = tuple[str, str, int]


def templates(record: dict, sentences: list[str]) -> list[Asked]:
    """Lists the expressions of a record with the given words."""
    stored = record["expressions"]
    kinds = [kind.decode() for kind in stored["kind"]]
    return list(zip(sentences, kinds, map(int, stored["object"]), strict=True))


def free_sentences(name: str) -> dict[str, list[tuple[str, int | None]]]:
    """Returns the sentences of a set, and the objects that they mean, by image."""
    asked = collections.defaultdict(list)
    for row in map(json.loads, SENTENCES.read_text().splitlines()):
        if row["set"] == name:
            asked[row["image"]].append((row["expression"], row["object"]))
    return asked


def answer(model: Segmenter, record: dict, asked: list[Asked]) -> Iterator[dict]:
    """Segments expressions of a record and compares their masks with all objects.

    Yields:
        Counts of pixels as in `metrics`, with `right`: true if the mask fits the meant
        object better than any other, and `rivals`, the other objects of its class.
    """
    name = record["image_id"].decode()
    pixels = preprocess.decode_image(record["image"], name)
    objects = record["objects"]
    truths = [preprocess.decode_mask(m, pixels.shape[:2]) for m in objects["mask"]]
    image = model.encode(pixels)
    for expression, kind, target in asked:
        mask = _mask(image, expression)
        row = {"image_id": name, "kind": kind}
        row |= {"no_target": target < 0, "empty": not mask.any()}
        if target >= 0:
            overlaps = [metrics.overlap(mask, truth) for truth in truths]
            row["intersection"], row["union"] = overlaps[target]
            fits = [both / max(either, 1) for both, either in overlaps]
            others = fits[:target] + fits[target + 1 :]
            row["right"] = fits[target] > max(others, default=0.0)
            classes = list(objects["category"])
            row["rivals"] = classes.count(classes[target]) - 1
        yield row


def _mask(image: EncodedImage, expression: str) -> np.ndarray:
    """Returns the mask of an expression; an empty one where no word is known."""
    try:
        return image.segment(expression).mask
    except ValueError:
        return np.zeros(image.pixels.shape[:2], bool)


def summarize(rows: Iterable[dict]) -> dict:
    """Returns counts and scores, as fractions."""
    rows = list(rows)
    meant = [row for row in rows if not row["no_target"]]
    nothing = [row for row in rows if row["no_target"]]
    rivalled = [row for row in meant if row["rivals"]]
    kinds = collections.defaultdict(list)
    for row in meant:
        kinds[row["kind"]].append(row)

    def share(rows: list[dict], key: str) -> float | None:
        return float(np.mean([row[key] for row in rows])) if rows else None

    return {
        "expressions": len(meant),
        "oiou": metrics.cumulative_iou(meant),
        "miou": float(metrics.ious(meant).mean()),
        "right": share(meant, "right"),
        "rivalled": len(rivalled),
        "right_rivalled": share(rivalled, "right"),
        "empty": share(meant, "empty"),
        "fit_nothing": len(nothing),
        "empty_of_nothing": share(nothing, "empty"),
        "by_kind": {
            kind: {
                "expressions": len(of_kind),
                "oiou": metrics.cumulative_iou(of_kind),
                "right": share(of_kind, "right"),
            }
            for kind, of_kind in sorted(kinds.items())
        },
    }


def score_templates(model: Segmenter, split: Split) -> dict:
    """Scores the expressions of a built split."""
    return summarize(
        row
        for record, sentences in zip(split.source, split.sentences, strict=True)
        for row in answer(model, record, templates(record, sentences))
    )


def score_free(model: Segmenter, data_dir: str) -> dict[str, dict]:
    """Scores the free sentences, of each set and of both."""
    rows = {}
    for name in SETS:
        split = splits.open_split(data_dir, f"instances/{name}", "val")
        wanted, rows[name] = free_sentences(name), []
        for record in split.source:
            given = wanted.pop(record["image_id"].decode(), [])
            ids = [i.decode() for i in record["objects"]["object_id"]]
            places = [-1 if o is None else ids.index(str(o)) for _, o in given]
            asked = [
                (said, "", place)
                for (said, _), place in zip(given, places, strict=True)
            ]
            rows[name] += answer(model, record, asked) if asked else []
        if wanted:
            raise ValueError(f"instances/{name} has no image {sorted(wanted)}")
    return {name: summarize(of_set) for name, of_set in rows.items()} | {
        "both": summarize(row for of_set in rows.values() for row in of_set)
    }


def to_markdown(results: dict[str, dict]) -> str:
    """Returns a table of the sets and one of the kinds."""

    def cell(value: float | int | None) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value or "-")

    keys = ("expressions", "oiou", "miou", "right", "rivalled", "right_rivalled")
    keys += ("empty", "fit_nothing", "empty_of_nothing")
    lines = ["| | " + " | ".join(keys) + " |", "| --- |" + " ---: |" * len(keys)]
    for name, scores in results.items():
        cells = [cell(scores[key]) for key in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| | kind | expressions | oiou | right |"]
    lines += ["| --- | --- | ---: | ---: | ---: |"]
    for name, scores in results.items():
        for kind, of_kind in scores["by_kind"].items():
            cells = [cell(value) for value in of_kind.values()]
            lines.append(f"| {name} | {kind or '-'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Scores a model and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a workdir, or an export")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--output", default=str(HERE / "results" / "photos.json"))
    arguments = parser.parse_args()
    model, results = restr_jax.load(arguments.model), {}
    for name in SETS:
        split = splits.open_split(arguments.data_dir, f"instances/{name}", "val")
        results[name] = score_templates(model, split)
        shuffled = splits.with_shuffled_text(split, seed=0)
        results[f"{name}, texts shuffled"] = score_templates(model, shuffled)
    free = score_free(model, arguments.data_dir)
    results |= {f"sentences, {name}": scores for name, scores in free.items()}
    pathlib.Path(arguments.output).write_text(json.dumps(results, indent=1) + "\n")
    print(to_markdown(results))


if __name__ == "__main__":
    main()
