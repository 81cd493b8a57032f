import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.data import preprocess, splits
from tfds_builders import prepare, refer_annotations

ROOT = pathlib.Path(__file__).parent.parent.parent


def objects_of(record):
    with Image.open(io.BytesIO(record["image"])) as image:
        size = image.height, image.width
    objects, expressions = record["objects"], record["expressions"]
    for i, object_id in enumerate(objects["object_id"]):
        mask = preprocess.decode_mask(objects["mask"][i], size)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        said = zip(expressions["object"], expressions["sent"], strict=True)
        yield {
            "ann_id": int(object_id),
            "ref_id": int(objects["ref_id"][i]),
            "image_id": int(record["image_id"]),
            "area_px": int(mask.sum()),
            "bbox_xywh": [
                int(columns[0]),
                int(rows[0]),
                int(columns[-1] - columns[0] + 1),
                int(rows[-1] - rows[0] + 1),
            ],
            "expressions": [sent.decode() for o, sent in said if o == i],
        }


@pytest.mark.parametrize("split", ["train", "val"])
def test_counts_areas_and_boxes_are_those_measured_apart(gref_dir, testdata, split):
    expected = json.loads((testdata / "expected_gref.json").read_text())[split]
    opened = splits.open_split(gref_dir, "gref/google", split)
    assert len(opened.source) == expected["images"]
    built = {o["ref_id"]: o for record in opened.source for o in objects_of(record)}
    assert len(built) == expected["refs"]
    for wanted in expected["objects"]:
        got = built[wanted["ref_id"]]
        assert got == {key: wanted[key] for key in got}
    assert sum(map(len, opened.sentences)) == expected["expressions"]


def test_images_are_stored_as_they_were(gref_dir, testdata):
    files = {f.read_bytes() for f in (testdata / "gref").rglob("*.jpg")}
    for split in ("train", "val"):
        for record in splits.open_split(gref_dir, "gref/google", split).source:
            assert record["image"] in files


@pytest.fixture
def manual(testdata, tmp_path):
    """A copy of the real files, to be spoiled."""
    return pathlib.Path(shutil.copytree(testdata / "gref", tmp_path / "manual"))


def build(manual):
    prepare.prepare("gref", str(manual.parent / "data"), str(manual))


def edit_refs(manual, change):
    path = manual / "refcocog" / "refs(google).p"
    refs = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(refs) or refs, protocol=2))


def edit_instances(manual, change):
    path = manual / "refcocog" / "instances.json"
    instances = json.loads(path.read_text())
    change(instances)
    path.write_text(json.dumps(instances))


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-executed",)


def test_a_folder_that_is_missing_is_named(tmp_path):
    for folder in (None, str(tmp_path / "absent")):
        with pytest.raises(FileNotFoundError, match="--manual_dir has to be"):
            prepare.prepare("gref", str(tmp_path / "data"), folder)


@pytest.mark.parametrize("name", ["refs(google).p", "instances.json"])
def test_an_annotation_file_that_is_missing_is_named(manual, name):
    (manual / "refcocog" / name).unlink()
    with pytest.raises(FileNotFoundError) as raised:
        build(manual)
    assert name in str(raised.value) and "README.md" in str(raised.value)


def test_all_missing_images_are_reported_at_once(manual):
    for image in manual.rglob("*.jpg"):
        image.unlink()
    with pytest.raises(FileNotFoundError, match="3 files are missing"):
        build(manual)
    assert not (manual.parent / "data" / "gref" / "1.0.0").exists()


def test_a_truncated_image_is_named(manual):
    image = manual / "images/mscoco/images/train2014/COCO_train2014_000000052461.jpg"
    image.write_bytes(image.read_bytes()[:5000])
    with pytest.raises(ValueError, match="000000052461.jpg is truncated"):
        build(manual)
    assert not (manual.parent / "data" / "gref" / "1.0.0").exists()


def test_an_image_of_another_size_is_named(manual):
    image = manual / "images/mscoco/images/train2014/COCO_train2014_000000052461.jpg"
    Image.new("RGB", (64, 48)).save(image)
    with pytest.raises(ValueError, match="is 48 x 64 pixels, but .* say 484 x 640"):
        build(manual)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a pickle", "is not a pickle of refs"),
        (pickle.dumps({"a": 1}), "holds a dict, not a list of refs"),
        (pickle.dumps([{"ref_id": 1}]), "entry 0: a ref needs the fields"),
        (pickle.dumps([Hostile()]), r"refers to \w+.mkdir; only plain"),
    ],
)
def test_a_pickle_that_is_not_refs_is_refused(manual, content, message):
    (manual / "refcocog" / "refs(google).p").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build(manual)
    assert not pathlib.Path("pickle-was-executed").exists()


def test_another_partition_s_file_is_refused(manual):
    edit_refs(manual, lambda refs: refs[0].update(split="testA"))
    with pytest.raises(ValueError, match="it is another partition's file"):
        build(manual)


def test_instances_that_are_no_coco_json_are_refused(manual):
    (manual / "refcocog" / "instances.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="is not an instances.json"):
        build(manual)


def test_an_empty_expression_is_refused(manual):
    edit_refs(manual, lambda refs: refs[0]["sentences"][0].update(sent="  "))
    with pytest.raises(ValueError, match="Image 353701 .* has an empty expression"):
        build(manual)


def test_a_ref_without_its_object_is_refused(manual):
    edit_instances(manual, lambda i: i["annotations"].pop())
    with pytest.raises(ValueError, match="has no entry in instances.json"):
        build(manual)


def test_a_ref_without_its_image_is_refused(manual):
    edit_instances(manual, lambda i: i["images"].pop())
    with pytest.raises(ValueError, match="1 referred images have no entry"):
        build(manual)


def test_a_mask_of_another_size_than_its_image_is_refused(manual):
    other = {"size": [10, 10], "counts": [0, 100]}
    edit_instances(manual, lambda i: i["annotations"][0].update(segmentation=other))
    with pytest.raises(ValueError, match=r"object \d+: the mask is \[10, 10\] pixels"):
        build(manual)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[0.0, 0.0, 0.1, 0.0, 0.1, 0.1]], "has no pixel"),
        ([["a", "b"]], "cannot be read"),
    ],
)
def test_a_mask_that_is_none_is_refused(segmentation, message):
    with pytest.raises(ValueError, match=f"thing: .*{message}"):
        refer_annotations.encode_segmentation(segmentation, 8, 8, "thing")


def test_polygons_and_both_kinds_of_rle_mean_the_same_mask():
    expected = np.zeros((6, 8), bool)
    expected[1:3, 1:4] = expected[4:6, 5:8] = True
    polygons = [[1, 1, 4, 1, 4, 3, 1, 3], [5, 4, 8, 4, 8, 6, 5, 6]]
    compressed = mask_util.encode(np.asfortranarray(expected, np.uint8))
    flat = expected.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    plain = {"size": [6, 8], "counts": counts}
    text = {"size": [6, 8], "counts": compressed["counts"].decode()}
    for form in (polygons, compressed, text, plain, [text]):
        encoded = refer_annotations.encode_segmentation(form, 6, 8, "thing")
        mask = preprocess.decode_mask(encoded.encode(), (6, 8))
        np.testing.assert_array_equal(mask, expected)


def run_prepare(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tfds_builders.prepare", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_command_builds_once_and_says_what_is_wrong(testdata, tmp_path):
    data = f"--data_dir={tmp_path / 'data'}"
    manual = f"--manual_dir={testdata / 'gref'}"
    for _ in range(2):
        result = run_prepare("gref", manual, data)
        assert result.returncode == 0 and "gref: built in" in result.stdout
    missing = run_prepare("gref", f"--data_dir={tmp_path / 'other'}")
    assert missing.returncode != 0 and "--manual_dir" in missing.stderr
    unknown = run_prepare("grev", data)
    assert unknown.returncode != 0 and "Unknown data set 'grev'" in unknown.stderr
    assert "Traceback" not in missing.stderr + unknown.stderr
