import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from restr_jax.drawing import gallery, panels


def case(file, result="a", **changes):
    return {
        "file": file,
        "result": result,
        "expression": "the red one",
        "iou": 0.5,
        "no_target": False,
        "found": True,
        "others": [],
        "images": 9,
    } | changes


def result(key, **changes):
    return gallery.Result(
        **{
            "key": key,
            "title": f"result {key}",
            "headline": ("oIoU", "0.731"),
            "scores": [("mIoU", "0.700")],
            "plots": [gallery.Plot("step.png", "oIoU by step: 0.731 at step 8.")],
        }
        | changes
    )


class Page(HTMLParser):
    """The elements of a page, with their attributes and the text that follows."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2].append(data)

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def texts(self, tag):
        return ["".join(text).strip() for name, _, text in self.elements if name == tag]


@pytest.fixture
def write(tmp_path):
    def write(cases, results):
        gallery.add_cases(tmp_path, cases)
        gallery.write_page(tmp_path, results)
        return Page((tmp_path / "index.html").read_text())

    return write


def test_scores_and_plots_come_before_the_cases(write):
    page = write([case("a.jpg")], [result("a")])
    assert page.texts("dd") == ["0.731", "0.700"]
    assert page.texts("dt") == ["oIoU", "mIoU"]
    assert [(i["src"], i["alt"]) for i in page.all("img")] == [
        ("step.png", "oIoU by step: 0.731 at step 8."),
        (
            "a.jpg",
            "Image with the outlines of the true and the predicted mask of "
            "“the red one”: IoU 0.50",
        ),
    ]
    (source,) = page.all("source")
    assert source["srcset"] == "step-dark.png"
    assert source["media"] == "(prefers-color-scheme: dark)"
    # It is readable from a disk, and on a phone.
    names = {name for _, attributes, _ in page.elements for name in attributes}
    assert "href" not in names and "onclick" not in names
    assert "width=device-width, initial-scale=1" in [
        meta.get("content") for meta in page.all("meta")
    ]


def test_the_newest_result_with_cases_is_shown_first(write):
    results = [result("old"), result("new"), result("without")]
    page = write([case("a.jpg", "old"), case("b.jpg", "new")], results)
    assert [o["value"] for o in page.all("option")] == ["new", "old", "without"]
    assert [i["src"] for i in page.all("img") if i["src"] != "step.png"] == [
        "b.jpg",
        "a.jpg",
    ]
    notes = [text for text in page.texts("p") if text.startswith("This result has no")]
    assert len(notes) == 1


def test_the_page_states_how_the_cases_were_chosen(write):
    page = write([case("a.jpg", images=60), case("b.jpg", images=60)], [result("a")])
    (note,) = (text for text in page.texts("p") if "drawn at random" in text)
    assert "the 60 images form 2 groups of equal size" in " ".join(note.split())


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({"iou": 0.834}, "IoU 0.83"),
        ({"iou": 0.0, "found": False}, "IoU 0.00, nothing found"),
        (
            {"no_target": True, "found": False, "iou": 1.0},
            "nothing fits, nothing found",
        ),
        ({"no_target": True, "iou": 0.0}, "nothing fits, but a mask was predicted"),
    ],
)
def test_a_caption_tells_right_from_wrong(write, changes, caption):
    page = write([case("a.jpg", **changes)], [result("a")])
    captions = [
        "".join(text)
        for tag, attributes, text in page.elements
        if tag == "span" and attributes.get("class") == "iou"
    ]
    assert captions == [caption]
    assert page.all("img")[-1]["alt"].endswith(f": {caption}")


def test_other_expressions_of_the_image_are_listed(write):
    others = [{"expression": "left", "iou": 0.25}, {"expression": "cup", "iou": 0.75}]
    page = write([case("a.jpg", others=others)], [result("a")])
    assert page.texts("summary") == ["2 other expressions"]
    assert page.texts("li") == ["“left”, IoU 0.25", "“cup”, IoU 0.75"]


def test_a_result_scored_anew_replaces_its_cases(tmp_path, write):
    write([case("a.jpg"), case("b.jpg", "other")], [])
    page = write([case("c.jpg")], [result("a"), result("other")])
    stored = json.loads((tmp_path / "cases.json").read_text())
    assert [c["file"] for c in stored] == ["b.jpg", "c.jpg"]
    images = {i["src"] for i in page.all("img")}
    assert images == {"step.png", "b.jpg", "c.jpg"}


def test_cases_of_an_earlier_version_are_dropped(tmp_path, write):
    old = {"file": "x.png", "group": "best", "split": "val", "iou": 0.5}
    (tmp_path / "cases.json").write_text(json.dumps([old]))
    page = write([case("a.jpg")], [result("a")])
    assert [i["src"] for i in page.all("img")] == ["step.png", "a.jpg"]


def test_an_expression_cannot_break_out_of_the_page(write):
    text = '</script><script>alert(1)</script> & %CASES% " onload="x'
    page = write([case("a.jpg", expression=text)], [result("a")])
    assert len(page.all("script")) == 1
    assert page.texts("b") == [f"“{text}”"]
    assert set(page.all("img")[-1]) == {"src", "alt", "loading"}


def test_plots_show_every_split(tmp_path, monkeypatch):
    shown, grounds = [], []

    def save(figure, path, dpi):
        (axis,) = figure.axes
        grounds.append(figure.get_facecolor())
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
    # Each is drawn for light and for dark pages.
    assert shown == [of_splits] * 2 + [["the paper", "this checkpoint"]] * 2
    assert [sum(ground[:3]) > 1.5 for ground in grounds] == [True, False] * 2
    for name in ("step.png", "step-dark.png", "length.png", "length-dark.png"):
        with Image.open(tmp_path / name) as drawn:
            assert len(set(drawn.convert("L").get_flattened_data())) > 10


def test_prices_in_an_expression_are_no_formula(tmp_path):
    black = np.zeros((8, 8, 3), np.uint8)
    said = "the $_{ 5 and the $10 bill"
    path = tmp_path / "a.png"
    panels.draw_row(path, said, (8, 8), [("image", black, {}), ("mask", black, {})])
