"""The small data sets are those that their script makes."""

import gzip
import importlib.util
import json
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image
from pycocotools import mask as mask_util


@pytest.fixture(scope="module")
def made(testdata, tmp_path_factory):
    """Returns a folder with the files that the script makes, without photographs."""
    path = testdata / "make_testdata.py"
    spec = importlib.util.spec_from_file_location("make_testdata", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("made")
    (folder / "custom").mkdir()
    shutil.copy(testdata / "custom/train.jsonl", folder / "custom")
    script.make(folder)
    return folder


def content_of(path):
    """Returns the content without what depends on versions of libraries."""
    if path.suffix == ".mat":
        mask = scipy.io.loadmat(path)["segimg_t"]
        return str(mask.dtype), mask.tolist()
    if path.suffix == ".png":
        return np.asarray(Image.open(path)).tolist()
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def test_the_files_are_those_of_the_script(made, testdata):
    names = {p.relative_to(made) for p in made.rglob("*") if p.is_file()}
    wrong = [n for n in names if content_of(made / n) != content_of(testdata / n)]
    assert wrong == []
    folders = [testdata / name for name in ("refer", "referit", "custom")]
    there = {p.relative_to(testdata) for f in folders for p in f.rglob("*.*")}
    by_hand = {n for n in there - names if n.suffix != ".jpg"}
    assert {n.name for n in by_hand} == {"val.json"}


def test_masks_of_polygons_fit_their_outlines(testdata):
    # A shoelace area, as in COCO, and the number of pixels differ by the outline only.
    for path in testdata.glob("refer/*/instances.json"):
        instances = json.loads(path.read_text())
        sizes = {i["id"]: (i["height"], i["width"]) for i in instances["images"]}
        for annotation in instances["annotations"]:
            size = sizes[annotation["image_id"]]
            parts = mask_util.frPyObjects(annotation["segmentation"], *size)
            pixels = mask_util.decode(parts).any(-1).sum()
            assert pixels == pytest.approx(annotation["area"], rel=0.06)
