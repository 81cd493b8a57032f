"""Draws docs/gallery.md: answers of the shipped model to redistributable photographs.

    pip download --no-deps --dest=wheels scikit-image scikit-learn
    unzip -j "wheels/*.whl" "*/rocket.jpg" "*/china.jpg" "*/flower.jpg" -d photographs
    python -m benchmarks.gallery --photographs=photographs --output=docs

gallery.json lists the photographs, the expressions, and a verdict on each answer, with
the share of the image that the judged mask covered. If the weights change and the mask
covers another share, the page marks the answer as not judged.
"""

import argparse
import json
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

import restr_jax
from restr_jax import shipped
from restr_jax.drawing import overlay

JUDGED = pathlib.Path(__file__).parent / "gallery.json"
_HEIGHT = 260  # pixels of a picture
_GAP = 8  # pixels between two pictures
_TOLERANCE = 0.01  # of the image; other devices round differently


class Answer(NamedTuple):
    """The answer to one expression.

    Attributes:
        expression: the text.
        mask: boolean [H, W].
        verdict: the verdict on it, or "not judged" if the mask is another one.
    """

    expression: str
    mask: np.ndarray
    verdict: str


def judge(row: dict, mask: np.ndarray) -> Answer:
    """Pairs a mask with the verdict on it."""
    same = abs(mask.mean() - row["share"]) <= _TOLERANCE
    return Answer(row["expression"], mask, row["verdict"] if same else "not judged")


def draw(pixels: np.ndarray, answers: list[Answer]) -> Image.Image:
    """Draws the answers side by side, each on its own copy of the photograph."""
    width = round(_HEIGHT * pixels.shape[1] / pixels.shape[0])
    row = Image.new("RGBA", (len(answers) * (width + _GAP) - _GAP, _HEIGHT))
    for place, answer in enumerate(answers):
        drawn = overlay.draw(pixels, [answer.mask], colors=[overlay.color_of(1)])
        small = Image.fromarray(drawn).resize((width, _HEIGHT))
        row.paste(small, (place * (width + _GAP), 0))
    return row


def to_markdown(entries: list[tuple[dict, list[Answer]]]) -> str:
    """Formats the page."""
    judged = [answer.verdict for _, answers in entries for answer in answers]
    counts = ", ".join(f"{judged.count(v)} {v}" for v in dict.fromkeys(sorted(judged)))
    lines = [_HEAD.format(number=len(judged), counts=counts)]
    for entry, answers in entries:
        name = pathlib.Path(entry["image"]).stem
        said = ", ".join(f"“{answer.text}”" for answer in answers)
        lines += [f"## {entry['title']}", ""]
        lines += [f"![Outlines of the answers to {said}](gallery/{name}.webp)", ""]
        lines += ["| from left to right | answer | |", "| --- | --- | --- |"]
        for row, answer in zip(entry["expressions"], answers, strict=True):
            share, why = answer.mask.mean(), f": {row['why']}" if row["why"] else ""
            found = f"{share:.1%} of the image" if share else "nothing found"
            verdict = f"**{answer.verdict}**{why}"
            lines += [f"| “{answer.text}” | {found} | {verdict} |"]
        lines += ["", f"{entry['source']}.", ""]
    return "\n".join(lines)


_HEAD = """# Gallery

Answers of the shipped model of photographs to {number} texts: {counts}.
Failures are shown as they are. The model knows the 80 classes of COCO, which have
neither rockets nor palaces. The last text of each photograph fits nothing in it, so the
right answer is an empty mask.

`python -m benchmarks.gallery` generates this page; its docstring has the commands that
fetch the photographs. Measured scores are in [A model of photographs](photos.md).
"""


def main() -> None:
    """Writes the page and its pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    pictures = arguments.output / "gallery"
    pictures.mkdir(parents=True, exist_ok=True)
    model, entries = restr_jax.load("photos"), []
    for entry in json.loads(JUDGED.read_text()):
        path = shipped.folder("photos") / "examples" / entry["image"]
        if not path.exists():
            path = arguments.photographs / entry["image"]
        image = model.encode(path)
        texts = [row["expression"] for row in entry["expressions"]]
        found = image.segment(texts)
        masks = [prediction.mask for prediction in found]
        answers = list(map(judge, entry["expressions"], masks))
        for answer in answers:
            print(f"{path.name}, {answer.text}: {answer.mask.mean():.3f}")
        name = f"{path.stem}.webp"
        draw(image.pixels, answers).save(pictures / name, quality=80)
        entries.append((entry, answers))
    (arguments.output / "gallery.md").write_text(to_markdown(entries))


if __name__ == "__main__":
    main()
