"""Finds images that are in both a training split and a scored split."""

import itertools
import json
import pathlib
from collections.abc import Sequence

from tfds_builders.markdown import table
from tfds_builders.storage.built import Built

_HEADER = """# Leakage

Images that are in both a training split and a scored split. Images are compared by the
names that their source gives them. `config.data.exclude` excludes such images from
training, as in configs/combined.py.

"""


def find(opened: Sequence[Built]) -> list[dict]:
    """Finds images that a training split shares with a scored split.

    The two splits may belong to one data set or to two.

    Args:
        opened: the data sets.

    Returns:
        One dict for each pair of splits that share images. `train` and `scored` name
        the splits ("unc:val"). `images` is the number of shared images, `fraction`
        their share of the scored split. `expressions` counts the expressions of the
        scored split that the training split has for the same image.
    """
    splits = [(built, split) for built in opened for split in built.info.splits]
    train = [pair for pair in splits if pair[1].startswith("train")]
    scored = [pair for pair in splits if not pair[1].startswith("train")]
    rows = []
    for (here, learned), (there, asked) in itertools.product(train, scored):
        seen = _sentences(here, learned)
        asked_of = _sentences(there, asked)
        shared = seen.keys() & asked_of.keys()
        # trainval is train and val, by definition.
        if not shared or (here is there and learned == f"train{asked}"):
            continue
        same = sum(s in seen[image] for image in shared for s in asked_of[image])
        rows.append(
            {
                "train": f"{here.name}:{learned}",
                "scored": f"{there.name}:{asked}",
                "images": len(shared),
                "fraction": len(shared) / len(asked_of),
                "expressions": same,
            }
        )
    return rows


def _sentences(built: Built, split: str) -> dict[str, list[str]]:
    """Returns the expressions of each image of a split."""
    pairs = zip(built.images(split), built.metadata["sentences"][split], strict=True)
    return dict(pairs)


def write(opened: Sequence[Built], folder: pathlib.Path) -> pathlib.Path:
    """Writes leakage.json and leakage.md.

    Returns:
        The path of leakage.md.
    """
    rows = find(opened)
    (folder / "leakage.json").write_text(json.dumps(rows, indent=1) + "\n")
    names = ", ".join(built.name for built in opened)
    lines = [f"Data sets: {names}.", ""]
    header = ["trained on", "scored on", "shared images", "of the scored", "same"]
    header[-1] += " expressions"
    cells = [
        [
            row["train"],
            row["scored"],
            f"{row['images']:,}",
            f"{row['fraction']:.1%}",
            f"{row['expressions']:,}",
        ]
        for row in rows
    ]
    lines += table(header, cells) if rows else ["No images are shared."]
    (folder / "leakage.md").write_text(_HEADER + "\n".join(lines) + "\n")
    return folder / "leakage.md"
