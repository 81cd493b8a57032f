import json
import pathlib

import numpy as np
from PIL import Image

from benchmarks import gallery

ROOT = pathlib.Path(__file__).parent.parent.parent


def mask_of(share):
    mask = np.zeros((10, 20), bool)
    mask.flat[: round(200 * share)] = True
    return mask


def test_a_verdict_holds_only_for_the_mask_that_was_judged():
    row = {"expression": "the cup", "verdict": "right", "share": 0.25}
    assert gallery.judge(row, mask_of(0.25)).verdict == "right"
    assert gallery.judge(row, mask_of(0.255)).verdict == "right"
    assert gallery.judge(row, mask_of(0.28)).verdict == "not judged"
    assert gallery.judge(row, mask_of(0)).verdict == "not judged"


def test_answers_are_drawn_side_by_side():
    gray = np.full((130, 200, 3), 128, np.uint8)
    masks = np.zeros((2, 130, 200), bool)
    masks[1, 30:100, 50:150] = True
    answers = [gallery.Answer("a", mask, "right") for mask in masks]
    drawn = gallery.draw(gray, answers)
    assert drawn.size == (2 * 400 + 8, 260)
    pixels = np.asarray(drawn)
    assert (pixels[:, :400, :3] == 128).all()  # Nothing was found.
    assert (pixels[:, 400:408, 3] == 0).all()
    red, _, blue = pixels[130, 608, :3].astype(int)
    assert blue > red + 30


def test_the_page_has_every_photograph_and_its_failures():
    page = (ROOT / "docs" / "gallery.md").read_text()
    entries = json.loads(gallery.JUDGED.read_text())
    verdicts = [row["verdict"] for e in entries for row in e["expressions"]]
    for verdict in ("right", "partly", "wrong"):
        assert page.count(f"**{verdict}**") == verdicts.count(verdict) > 3
        assert f"{verdicts.count(verdict)} {verdict}" in page
    assert "not judged" not in page
    for entry in entries:
        name = pathlib.Path(entry["image"]).with_suffix(".webp").name
        assert f"](gallery/{name})" in page
        with Image.open(ROOT / "docs" / "gallery" / name) as picture:
            assert picture.height == 260
    files = [*(ROOT / "docs" / "gallery").iterdir()]
    assert sum(file.stat().st_size for file in files) < 500_000
