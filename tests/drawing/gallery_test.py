import json
import re

import numpy as np
from PIL import Image

from restr_jax.drawing import gallery, panels


def case(file, **changes):
    return {
        "file": file,
        "group": "best",
        "split": "unc:val",
        "step": 8,
        "expression": "the red one",
        "length": 3,
        "iou": 0.5,
    } | changes


def cases_in(page):
    return json.loads(re.search(r"const cases = (.*);\n", page).group(1))


def test_the_page_holds_all_cases_and_needs_no_other_file(tmp_path):
    gallery.add_cases(tmp_path, [case("a.png"), case("b.png", iou=0.25)])
    gallery.add_cases(tmp_path, [case("c.png", split="unc:testA")])
    page = (tmp_path / "index.html").read_text()
    assert cases_in(page) == json.loads((tmp_path / "cases.json").read_text())
    assert [c["file"] for c in cases_in(page)] == ["a.png", "b.png", "c.png"]
    assert not re.search(r"https?://|src=\"|href=", page)
    for name in ("iou_min", "iou_max", "words_min", "words_max", "text"):
        assert f'name="{name}"' in page and f"field.{name}.value" in page


def test_redrawn_pictures_replace_their_cases(tmp_path):
    several = [case("several.png", expression=e) for e in ("left", "right")]
    gallery.add_cases(tmp_path, [*several, case("a.png")])
    gallery.add_cases(tmp_path, [case("several.png", expression="middle", iou=0.75)])
    found = cases_in((tmp_path / "index.html").read_text())
    assert [(c["file"], c["expression"]) for c in found] == [
        ("a.png", "the red one"),
        ("several.png", "middle"),
    ]


def test_an_expression_cannot_break_out_of_the_page(tmp_path):
    text = "</script><script>alert(1)</script> & \u2028"
    gallery.add_cases(tmp_path, [case("a.png", expression=text)])
    page = (tmp_path / "index.html").read_text()
    assert page.count("</script>") == 1
    assert cases_in(page)[0]["expression"] == text


def test_several_masks_are_drawn_side_by_side(tmp_path):
    image = np.full((40, 60, 3), 100, np.uint8)
    masks = [np.zeros((40, 60), bool) for _ in range(6)]
    masks[0][:, :30] = True
    path = tmp_path / "several.png"
    panels.draw_expressions(
        path, image=image, expressions=[f"number {i}" for i in range(6)], masks=masks
    )
    with Image.open(path) as drawn:
        # Seven panels in rows of five.
        assert drawn.width > 1000 and drawn.height > 2 * 150
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    # The first mask tints half of one panel red.
    assert np.count_nonzero(pixels[..., 0] - pixels[..., 2] > 60) > 5000


def test_plots_show_every_split(tmp_path, monkeypatch):
    shown = []

    def save(figure, path, dpi):
        (axis,) = figure.axes
        shown.append(axis.get_legend_handles_labels()[1])
        real(figure, path, dpi)

    real = panels._save
    monkeypatch.setattr(panels, "_save", save)
    row = {"dataset": "unc", "checkpoint": "runs/a/checkpoints/8", "threshold": 0.5}
    rows = [
        row | {"split": split, "step": step, "oiou": step / 20}
        for split in ("val", "testA")
        for step in (8, 12)
    ]
    panels.plot_by_step(tmp_path / "step.png", rows)
    bucket = {"min": 1, "max": 2, "count": 9, "oiou": 0.5, "paper": 0.7238}
    rows[0]["by_length"] = [bucket | {"ci95": [0.51, 0.6]}]
    panels.plot_by_length(tmp_path / "length.png", rows[0])
    of_splits = [f"a, unc:{split}, threshold 0.5" for split in ("val", "testA")]
    # The bars come last in the order of drawing.
    assert shown == [of_splits, ["the paper", "this checkpoint"]]
    for name in ("step.png", "length.png"):
        with Image.open(tmp_path / name) as drawn:
            assert len(set(drawn.convert("L").get_flattened_data())) > 10


def test_prices_in_an_expression_are_no_formula(tmp_path):
    black, nothing = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool)
    said = "the $_{ 5 and the $10 bill"
    path = tmp_path / "a.png"
    panels.draw_row(path, said, (8, 8), [("image", black, {}), ("mask", black, {})])
    panels.draw_expressions(path, image=black, expressions=[said], masks=[nothing])
