"""Checks the types of the public names with mypy, and runs README's example."""

import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

import restr_jax
from restr_jax import shipped

ROOT = pathlib.Path(__file__).parent.parent.parent

USES_ALL = """
import pathlib

import jax
import numpy as np
from PIL import Image

import restr_jax
from restr_jax import EncodedImage, Prediction, Segmenter

version: str = restr_jax.__version__
model: Segmenter = restr_jax.load("shapes", checkpoint="best", dtype="float32")
model = restr_jax.load(pathlib.Path("runs/gref"))
names: str = model.name + model.domain + model.trained_on
pixels = np.zeros((3, 3, 3), np.uint8)
one: Prediction = model.segment("a.jpg", "the dog", threshold=0.4)
one = model.segment(jax.numpy.asarray(pixels), "dog")
many: list[Prediction] = model.segment(pathlib.Path("a.jpg"), ["the dog", "cat"])
image: EncodedImage = model.encode(Image.new("RGB", (3, 3)))
images: list[EncodedImage] = model.encode(["a.jpg", "b.jpg"])
images = model.encode([pathlib.Path("a.jpg"), pixels])
one, many = image.segment("dog"), image.segment(("dog", "cat"))
picture: Image.Image = one.overlay()
one.save("mask.png")
one.save(pathlib.Path("mask.png"))
area: int = one.to_dict()["area"] + one.to_coco()["area"] + one.area
share: float = one.mask.mean() + one.score + one.highest
text: str = one.text
"""

WRONG = """
import restr_jax

model = restr_jax.load()
model.segment("a.jpg", ["dog"]).mask
model.encode(["a.jpg"]).segment("dog")
model.segment("a.jpg", None)
model.segment(b"bytes", "dog")
model.encode("a.jpg").segment(3)
"""


def example_of(page):
    """Returns a page's Python code that starts at the import, fenced or indented."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```|\n\n((?: {4}.*\n|\n)+)", text, re.S)
    codes = [textwrap.dedent(fenced or plain) for fenced, plain in blocks]
    starts = [bool(re.search("^import restr_jax$", code, re.M)) for code in codes]
    return codes[starts.index(True)]


def check(path, code):
    """Runs mypy as for an installed package; returns its lines."""
    path.write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    command += [f"--cache-dir={ROOT / '.mypy_cache'}", "--no-error-summary", str(path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.stderr == "" and run.returncode in (0, 1)
    return run.stdout.splitlines()


@pytest.mark.slow
def test_the_public_names_have_types(tmp_path):
    assert all(name in USES_ALL for name in restr_jax.__all__)
    assert check(tmp_path / "uses_all.py", USES_ALL) == []
    for page in ("README.md", "docs/api.md"):
        assert check(tmp_path / "page.py", example_of(page)) == []
    wrong = check(tmp_path / "wrong.py", WRONG)
    lines = [
        int(re.search(r":(\d+): error:", line)[1]) for line in wrong if "error" in line
    ]
    assert sorted(set(lines)) == [5, 6, 7, 8, 9]


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    photo = shipped.folder("photos") / "examples" / "chelsea.jpg"
    monkeypatch.chdir(tmp_path)
    shutil.copy(photo, "photo.jpg")
    code = example_of("README.md")
    assert "restr_jax.load()" in code and ".segment(" in code
    names = {}
    exec(code, names)
    assert names["found"].mask.shape == (300, 451)
