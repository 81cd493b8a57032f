"""Draws larger scenes of `shapes` with their expressions, to try a model on.

python -m tfds_builders.shapes.examples --output=scenes
"""

import argparse
import json
import pathlib

import numpy as np
from PIL import Image

from tfds_builders.shapes import scenes
from tfds_builders.storage.paths import typed

# The data set's own seeds are single numbers up to 3.
_SEED = 4


def write(folder: pathlib.Path, number: int, side: int, expressions: int) -> None:
    """Writes scenes as PNG files, and their expressions to examples.jsonl.

    `restr predict` reads examples.jsonl.

    Args:
        folder: folder to write into.
        number: number of scenes; none of them is in the data set.
        side: height and width of a scene, pixels.
        expressions: number of expressions of a scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(number):
        rng = np.random.default_rng((_SEED, index))
        scene = scenes.make_scene(rng, side, expressions)
        name = f"scene-{index + 1}.png"
        Image.fromarray(scene.image).save(folder / name)
        texts = [expression.words for expression in scene.expressions]
        rows.append(json.dumps({"image": name, "expressions": texts}) + "\n")
    (folder / "examples.jsonl").write_text("".join(rows))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=typed, required=True, help="folder to write into"
    )
    parser.add_argument("--number", type=int, default=4, help="number of scenes")
    parser.add_argument(
        "--side", type=int, default=128, help="height and width of a scene, pixels"
    )
    arguments = parser.parse_args()
    write(pathlib.Path(arguments.output), arguments.number, arguments.side, 6)


if __name__ == "__main__":
    main()
