"""Writes data cards of built data sets, and a report of their shared images.

A word is one of `words.of`: in English, a run of letters and digits.
"""

import io
import json
import pathlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from tfds_builders import published
from tfds_builders.inspection import leakage, plots, words
from tfds_builders.inspection.progress import progress_bar
from tfds_builders.markdown import table
from tfds_builders.storage.built import Built

_MOST_WORDS = 20  # ReSTR truncates longer expressions
# Share of the image that a mask covers; the edges grow tenfold every three steps.
_AREA_EDGES = [0.0, *np.logspace(-4, 0, 13).tolist()]


def write_all(data_dir: str, names: list[str]) -> None:
    """Writes a data card for each data set, and one leakage report for all of them.

    Args:
        data_dir: folder of the built data sets and of the reports.
        names: "unc", "gref/google", ...

    Raises:
        FileNotFoundError: if one has not been built.
        ValueError: if another program built one.
    """
    opened = [Built(data_dir, name) for name in names]
    for built in opened:
        print(f"{built.name}: {write_card(built, pathlib.Path(data_dir))}", flush=True)
    print(leakage.write(opened, pathlib.Path(data_dir)), flush=True)


def write_card(built: Built, data_dir: pathlib.Path) -> pathlib.Path:
    """Writes card.json, card.md and plots into DATA_DIR/NAME/report.

    Returns:
        The path of card.md.
    """
    folder = data_dir / built.name / "report"
    folder.mkdir(parents=True, exist_ok=True)
    card = describe(built)
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    plots.draw_card(card, folder)
    (folder / "card.md").write_text(to_markdown(card), encoding="utf-8")
    return folder / "card.md"


def describe(built: Built) -> dict:
    """Returns the statistics of a data card."""
    splits = {split: _describe_split(built, split) for split in built.info.splits}
    train = words.training_split(splits)
    return {
        "dataset": built.name,
        "homepage": built.info.homepage,
        "image_source": built.metadata["image_source"],
        "skipped": list(built.metadata["skipped"]),
        "differences": published.differences(built.name, built.counts()),
        "paper": published.PAPER_DISAGREES.get(built.name),
        "splits": splits,
        "vocabulary": _vocabulary(built, train) if train else None,
    }


def _describe_split(built: Built, split: str) -> dict:
    sentences = [s for record in built.metadata["sentences"][split] for s in record]
    lengths = np.array([len(words.of(s)) for s in sentences])
    areas, per_object, categories, kinds = _look_at_records(built, split)
    return {
        **built.counts()[split],
        "words": {
            "mean": float(lengths.mean()),
            "longest": int(lengths.max()),
            "over_20": int((lengths > _MOST_WORDS).sum()),
            "histogram": _histogram(lengths),
            "buckets": [
                {"min": low, "max": high, "count": int(_between(lengths, low, high))}
                for low, high in published.length_buckets(built.name)
            ],
        },
        "objects_per_image": _histogram(built.metadata["num_objects"][split]),
        "expressions_per_object": _histogram(per_object),
        "categories": dict(categories.most_common(20)),
        "kinds": dict(sorted(kinds.items())),
        "fit_nothing": kinds["nothing"],
        "mask_area": np.histogram(areas, _AREA_EDGES)[0].tolist(),
        "mask_area_edges": _AREA_EDGES,
    }


def _between(lengths: np.ndarray, low: int, high: int) -> int:
    return np.count_nonzero((low <= lengths) & (lengths <= high))


def _look_at_records(built: Built, split: str) -> tuple[list, list, Counter, Counter]:
    """Returns mask areas, expressions of each object, categories, and kinds."""
    areas, per_object, categories, kinds = [], [], Counter(), Counter()
    records = built.records(split)
    for i in progress_bar(range(len(records)), desc=f"{built.name}, {split}"):
        objects, expressions = records[i]["objects"], records[i]["expressions"]
        with Image.open(io.BytesIO(records[i]["image"])) as image:
            size = [image.height, image.width]
        rles = [{"size": size, "counts": counts} for counts in objects["mask"]]
        areas += [area / (size[0] * size[1]) for area in mask_util.area(rles)]
        fitting = [place for place in expressions["object"] if place >= 0]
        per_object += np.bincount(fitting, minlength=len(rles)).tolist()
        kinds.update(k.decode() for k in expressions["kind"] if k)
        categories.update(c.decode() for c in objects["category"] if c)
    return areas, per_object, categories, kinds


def _vocabulary(built: Built, train: str) -> dict:
    """Counts the words of the training split, and unknown words of other splits."""
    counts = Counter(_words(built, train))
    unknown = {}
    for split in built.info.splits:
        if not split.startswith("train"):
            said = _words(built, split)
            foreign = [word for word in said if word not in counts]
            unknown[split] = {
                "words": len(said),
                "unknown": len(foreign),
                "most_frequent": dict(Counter(foreign).most_common(10)),
            }
    return {
        "split": train,
        "words": sum(counts.values()),
        "distinct": len(counts),
        "seen_once": sum(count == 1 for count in counts.values()),
        "most_frequent": dict(counts.most_common(30)),
        "unknown": unknown,
    }


def _words(built: Built, split: str) -> list[str]:
    return [
        word
        for record in built.metadata["sentences"][split]
        for sentence in record
        for word in words.of(sentence)
    ]


def _histogram(values: Iterable[int]) -> dict[str, int]:
    counts = Counter(int(value) for value in values)
    return {str(value): counts[value] for value in sorted(counts)}


def to_markdown(card: dict) -> str:
    """Formats a card as Markdown, with links to its plots."""
    lines = [
        f"# {card['dataset']}",
        "",
        f"Source: {card['homepage'] or 'generated'}",
        "",
    ]
    header = ["split", "images", "objects", "expressions", "words, mean", "longest"]
    header += ["over 20 words", "objects an image"]
    rows = [
        [
            split,
            *(f"{s[what]:,}" for what in ("images", "objects", "expressions")),
            f"{s['words']['mean']:.2f}",
            s["words"]["longest"],
            s["words"]["over_20"],
            f"{s['objects'] / s['images']:.2f}",
        ]
        for split, s in card["splits"].items()
    ]
    lines += table(header, rows)
    lines += ["", "## Differences from the published counts", ""]
    lines += [f"* {line}" for line in card["differences"]] or ["None known."]
    if card["paper"]:
        lines += ["", f"The ReSTR paper reports {card['paper']}."]
    lines += ["", "## Expressions by length", ""]
    lines += ["The buckets are those of Table 2 of the ReSTR paper.", ""]
    names = [f"{b['min']}-{b['max']}" for b in _buckets(card)[0]]
    shares = [[b["count"] for b in of_split] for of_split in _buckets(card)]
    totals = [s["expressions"] for s in card["splits"].values()]
    rows = [
        [split, *(f"{count:,} ({count / total:.1%})" for count in counts)]
        for split, counts, total in zip(card["splits"], shares, totals, strict=True)
    ]
    lines += table(["split", *names], rows)
    lines += _kind_lines(card)
    lines += ["", "![lengths](lengths.png)", "", "![areas](areas.png)", ""]
    lines += ["![objects](objects.png)", "", *_vocabulary_lines(card["vocabulary"])]
    lines += ["## Skipped during the build", ""]
    lines += [f"* {line}" for line in card["skipped"]] or ["Nothing."]
    return "\n".join(lines) + "\n"


def _kind_lines(card: dict) -> list[str]:
    """Returns the table of kinds, or no lines if the data set has no kinds."""
    kinds = sorted({kind for s in card["splits"].values() for kind in s["kinds"]})
    if not kinds:
        return []
    lines = ["", "## Expressions by kind", ""]
    lines += ["Expressions of the kind nothing fit no object of their image.", ""]
    rows = [
        [split, *(f"{s['kinds'].get(kind, 0):,}" for kind in kinds)]
        for split, s in card["splits"].items()
    ]
    return lines + table(["split", *kinds], rows)


def _buckets(card: dict) -> list[list[dict]]:
    return [split["words"]["buckets"] for split in card["splits"].values()]


def _vocabulary_lines(vocabulary: dict | None) -> list[str]:
    if not vocabulary:
        return []
    lines = ["## Vocabulary", ""]
    lines.append(
        f"{vocabulary['split']} has {vocabulary['words']:,} words; "
        f"{vocabulary['distinct']:,} are distinct, and {vocabulary['seen_once']:,} of "
        "these occur only once."
    )
    for split, of_split in vocabulary["unknown"].items():
        share = of_split["unknown"] / of_split["words"]
        lines.append(
            f"* {split}: {of_split['unknown']:,} of {of_split['words']:,} words "
            f"({share:.2%}) are unknown, such as "
            f"{', '.join(of_split['most_frequent']) or 'none'}."
        )
    return [*lines, ""]
