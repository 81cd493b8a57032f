"""Builds `grefcoco` from drawn images in the published layout, and from bad refs."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.data import splits
from tfds_builders import prepare
from tfds_builders.inspection import check, data_card
from tfds_builders.storage.built import Built

SPLITS = ("train", "val", "testA", "testB")
# Boxes of x, y, width and height on images of 6 x 8 pixels; the last two overlap.
BOXES = {5: (1, 1, 2, 3), 8: (5, 0, 3, 2), 9: (5, 1, 2, 4)}


def polygon(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def ref(number, ann_id, *said, image=1, split="train", **more):
    sentences = [
        {"sent_id": 10 * number + i, "sent": s, "raw": s.title(), "tokens": s.split()}
        for i, s in enumerate(said)
    ]
    return {
        "ref_id": number,
        "ann_id": ann_id,
        "category_id": ann_id and [-1 if key == -1 else 3 for key in ann_id],
        "image_id": image,
        "split": split,
        "no_target": ann_id == [-1],
        "file_name": "COCO_train2014_000000000001_7.jpg",
        "sent_ids": [s["sent_id"] for s in sentences],
        "sentences": sentences,
    } | more


REFS = [
    ref(3, [-1], "zebra", "a red car"),
    ref(1, [5], "left one"),
    ref(2, [5, 8, 9], "all of them"),
    ref(4, [8, 9], "both on the right"),
    ref(5, [5]),  # The published file has refs without sentences.
    # Nothing is found in this image at all.
    ref(6, [-1], "dog", image=2, split="val"),
    ref(7, [15], "one", image=3, split="val"),
    ref(8, [15], "one", image=3, split="testA"),
    ref(9, [15], "one", image=3, split="testB"),
]


@pytest.fixture
def manual(tmp_path):
    """Returns a manual directory in the published layout."""
    images = tmp_path / "images/mscoco/images/train2014"
    images.mkdir(parents=True)
    (tmp_path / "grefcoco").mkdir()
    entries = []
    for number in (1, 2, 3):
        name = f"COCO_train2014_{number:012}.jpg"
        Image.new("RGB", (8, 6)).save(images / name)
        entries.append({"id": number, "file_name": name, "height": 6, "width": 8})
    boxes = {**{key: (1, box) for key, box in BOXES.items()}, 15: (3, BOXES[5])}
    annotations = [
        {
            "id": key,
            "image_id": image,
            "segmentation": [polygon(*box)],
            "category_id": 3 if key == 5 else 4,
            "iscrowd": 0,
        }
        for key, (image, box) in boxes.items()
    ]
    categories = [{"id": 3, "name": "cup"}, {"id": 4, "name": "dog"}]
    write(tmp_path / "grefcoco/grefs(unc).json", REFS)
    write(
        tmp_path / "grefcoco/instances.json",
        {"images": entries, "annotations": annotations, "categories": categories},
    )
    return tmp_path


def write(path, content):
    path.write_text(json.dumps(content))


def build(manual, **options):
    data_dir = str(manual / "data")
    prepare.prepare("grefcoco", data_dir, str(manual), **options)
    return data_dir


def box_mask(*keys):
    mask = np.zeros((6, 8), bool)
    for x, y, w, h in (BOXES[key] for key in keys):
        mask[y : y + h, x : x + w] = True
    return mask


def test_an_expression_means_one_object_several_or_none(manual):
    data_dir = build(manual)
    (record,) = splits.open_split(data_dir, "grefcoco", "train").source
    objects, expressions = record["objects"], record["expressions"]
    assert list(objects["object_id"]) == [b"5", b"5+8+9", b"8+9"]
    assert list(objects["category"]) == [b"cup", b"cup+dog", b"dog"]
    assert list(objects["ref_id"]) == [b"1", b"2", b"4"]
    for counts, keys in zip(objects["mask"], [(5,), (5, 8, 9), (8, 9)], strict=True):
        mask = mask_util.decode({"size": [6, 8], "counts": counts})
        np.testing.assert_array_equal(mask, box_mask(*keys))
    columns = (expressions[name] for name in ("sent", "object", "kind"))
    assert list(zip(*columns, strict=True)) == [
        (b"left one", 0, b""),
        (b"all of them", 1, b""),
        (b"zebra", -1, b"nothing"),
        (b"a red car", -1, b"nothing"),
        (b"both on the right", 2, b""),
    ]
    assert list(expressions["sent_id"]) == [b"10", b"20", b"30", b"31", b"40"]


def test_an_image_may_have_nothing_that_its_expressions_mean(manual):
    data_dir = build(manual)
    empty, other = splits.open_split(data_dir, "grefcoco", "val").source
    assert empty["image_id"] == b"2" and list(empty["objects"]["mask"]) == []
    assert list(empty["expressions"]["object"]) == [-1]
    assert list(other["expressions"]["object"]) == [0]
    built = Built(data_dir, "grefcoco")
    assert list(check.check(built)) == []
    card = data_card.describe(built)
    assert card["splits"]["val"]["fit_nothing"] == 1
    assert card["splits"]["val"]["objects"] == 1


def test_the_output_counts_what_fits_nothing_and_says_nothing(manual):
    options = {"skip_bad": False, "num_workers": 1}
    said = list(
        prepare.prepare_all(["grefcoco"], str(manual / "data"), str(manual), **options)
    )
    assert "  train: 1 images, 3 objects, 5 expressions, 2 fitting nothing" in said
    assert "  testA: 1 images, 1 objects, 1 expressions" in said
    assert "  differs: val has 2 images, but 1,500 are published" in said
    assert "    1 refs without sentences, which say nothing" in said


def test_a_crowd_among_several_objects_is_left_out(manual):
    path = manual / "grefcoco/instances.json"
    content = json.loads(path.read_text())
    content["annotations"][1] |= {"iscrowd": 1}  # 8
    write(path, content)
    write(
        manual / "grefcoco/grefs(unc).json",
        [*REFS, ref(10, [8], "the crowd alone", split="val")],
    )
    data_dir = build(manual)
    (record,) = splits.open_split(data_dir, "grefcoco", "train").source
    assert list(record["objects"]["object_id"]) == [b"5", b"5+9", b"9"]
    alone = splits.open_split(data_dir, "grefcoco", "val").source[0]
    assert list(alone["objects"]["object_id"]) == [b"8"]


def test_the_first_release_has_no_test_splits(manual):
    write(manual / "grefcoco/grefs(unc).json", REFS[:7])
    assert set(Built(build(manual), "grefcoco").info.splits) == {"train", "val"}
    write(manual / "grefcoco/grefs(unc).json", REFS[:8])
    with pytest.raises(ValueError, match="The refs have the splits .*'testA'"):
        prepare.prepare("grefcoco", str(manual / "other"), str(manual))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ann_id": []}, r"ref 1: its ann_id is [], expected a list of objects, or"),
        ({"ann_id": [5, -1]}, "ref 1: its ann_id is [5, -1], expected"),
        ({"ann_id": ["5"]}, "ref 1: its ann_id is ['5'], expected"),
        ({"ann_id": None}, "entry 1: it lacks ann_id"),
        ({"ann_id": [-1]}, "ref 1: its no_target is False, but its ann_id is [-1]"),
        ({"no_target": True}, "ref 1: its no_target is True, but its ann_id is [5]"),
        ({"no_target": 1}, "entry 1: its no_target is 1, expected true or false"),
        ({"ann_id": [5, 6]}, "ref 1, object 6: object 6 has no entry in instances"),
        ({"ann_id": [5, 15]}, "ref 1, object 15: it is on image 3, not on 1"),
        ({"image_id": 7, "ann_id": [-1], "no_target": True}, "image 7 has no entry"),
    ],
)
def test_a_bad_ref_is_named(change, message, manual):
    refs = [dict(r) for r in REFS]
    refs[1] |= change
    write(manual / "grefcoco/grefs(unc).json", refs)
    with pytest.raises(ValueError, match="1 problem") as raised:
        build(manual)
    assert message in str(raised.value)


def test_one_object_may_be_a_number_as_in_the_refer_distribution(manual):
    refs = [dict(r) for r in REFS]
    refs[1]["ann_id"] = 5
    del refs[1]["no_target"]
    write(manual / "grefcoco/grefs(unc).json", refs)
    (record,) = splits.open_split(build(manual), "grefcoco", "train").source
    assert record["objects"]["object_id"][0] == b"5"


@pytest.mark.parametrize("content", ["", "{}", "[]", '[{"ref_id": 1, "ref_id": 2}]'])
def test_a_file_without_refs_is_refused(content, manual):
    path = pathlib.Path(manual / "grefcoco/grefs(unc).json")
    path.write_text(content)
    with pytest.raises(ValueError, match=r"grefs\(unc\)\.json (is not|holds)"):
        build(manual)
