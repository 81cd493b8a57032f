"""Builds, checks and describes `instances` from drawn images and bad input."""

import json
import re
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image, features

from tfds_builders import prepare
from tfds_builders.annotations import Problems
from tfds_builders.inspection import check, data_card
from tfds_builders.instances import options, source
from tfds_builders.storage.built import Built

HEIGHT, WIDTH = 60, 80
CATEGORIES = [
    {"id": 1, "name": "person"},
    {"id": 17, "name": "cat"},
    {"id": 18, "name": "dog"},
    {"id": 47, "name": "cup"},
    {"id": 90, "name": "zebra"},
]


def rectangle(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def thing(key, image, category, box, **further):
    entry = {"id": key, "image_id": image, "category_id": category}
    return entry | {"segmentation": rectangle(*box), "iscrowd": 0} | further


def draw(root, number, boxes, name="{}.png", mode="RGB"):
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = (200, 30, 20)
    file = name.format(number)
    (root / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).convert(mode).save(root / "images" / file)
    return {"id": number, "file_name": file, "height": HEIGHT, "width": WIDTH}


def write(root, split, images, annotations, categories=CATEGORIES):
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / f"instances_{split}.json").write_text(json.dumps(content))


DOGS = [(5, 10, 25, 50), (45, 15, 70, 50)]


@pytest.fixture
def manual(tmp_path):
    """Writes five images of two dogs, one with a crowd, and two for scoring."""
    root = tmp_path / "manual"
    images = [draw(root, i, DOGS) for i in range(8)]
    annotations = [
        thing(10 * i + k, i, 18, box) for i in range(8) for k, box in enumerate(DOGS)
    ]
    annotations[0]["iscrowd"] = 1
    annotations.append(thing(500, 0, 47, (30, 5, 42, 25)))
    write(root, "train", images[:6], [a for a in annotations if a["image_id"] < 6])
    write(root, "val", images[6:], [a for a in annotations if a["image_id"] >= 6])
    return root


def build(manual, data, *given, name="instances/mine", **further):
    prepare.prepare(name, str(data), str(manual), given=given, **further)
    return Built(str(data), name)


def texts(record):
    return [text.decode() for text in record["expressions"]["sent"]]


def test_a_set_is_built_checked_and_described(manual, tmp_path):
    built = build(manual, tmp_path / "data", "expressions=9", "nothing=0.25")
    assert built.counts()["train"]["images"] == 6
    assert built.metadata["options"]["expressions"] == 9
    assert list(check.check(built)) == []
    kinds = Counter()
    for split in ("train", "val"):
        for record in built.records(split):
            expressions = record["expressions"]
            empty = np.asarray(expressions["kind"]) == b"nothing"
            assert ((np.asarray(expressions["object"]) == -1) == empty).all()
            assert 0 < len(texts(record)) <= 9
            kinds.update(expressions["kind"])
    assert kinds[b"nothing"] and kinds[b"position"] and kinds[b"ordinal"]
    card = data_card.describe(built)
    counted = sum(s["fit_nothing"] for s in card["splits"].values())
    assert counted == kinds[b"nothing"]
    assert "## Expressions by kind" in data_card.to_markdown(card)
    # The first image contains a crowd of dogs.
    first = built.records("train")[0]
    assert [c.decode() for c in first["objects"]["category"]] == ["dog", "cup"]
    named = [t for t in texts(first) if re.search("dog|animal|canine|pet", t)]
    assert named == []


def test_results_do_not_depend_on_threads_or_other_images(manual, tmp_path):
    one = build(manual, tmp_path / "one", num_workers=1)
    content = json.loads((manual / "instances_train.json").read_text())
    content["images"] = content["images"][::-1]
    (manual / "instances_train.json").write_text(json.dumps(content))
    many = build(manual, tmp_path / "many", num_workers=4)
    other = build(manual, tmp_path / "other", "seed=1")

    def said(built):
        records = built.records("train")
        return {r["image_id"]: texts(r) for r in (records[i] for i in range(6))}

    assert said(one) == said(many) != said(other)


def test_the_layout_of_coco_is_found(manual, tmp_path):
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (manual / "images").rename(root / f"{split}2017") if split == "train" else None
        name = f"instances_{split}"
        (manual / f"{name}.json").rename(root / "annotations" / f"{name}2017.json")
    (root / "val2017").symlink_to(root / "train2017")
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    built = build(root, tmp_path / "data")
    assert {s: c["images"] for s, c in built.counts().items()} == {"train": 6, "val": 2}


def test_bad_annotations_are_counted_and_exclude_their_class(tmp_path):
    root = tmp_path / "manual"
    images = [draw(root, i, DOGS) for i in range(3)]
    cup = (30, 5, 42, 25)
    annotations = [
        thing(1, 0, 18, DOGS[0]),
        thing(2, 0, 47, cup),
        # A box without an outline, and invalid outlines.
        {"id": 3, "image_id": 0, "category_id": 18, "bbox": [45, 15, 25, 35]},
        thing(4, 1, 18, DOGS[0], segmentation=[[1, 2, 3]]),
        thing(5, 1, 18, DOGS[1], segmentation="none"),
        thing(6, 1, 47, cup),
        thing(7, 1, 99, cup),
        {"id": 8, "category_id": 18},
        thing(9, 2, 47, cup, segmentation=[]),
        thing(10, 77, 47, cup),
    ]
    write(root, "train", images, annotations)
    built = build(root, tmp_path / "data")
    assert built.counts()["train"]["images"] == 2
    for record in built.records("train"):
        assert texts(record)
        assert not [t for t in texts(record) if re.search("dog|animal", t)]
    skipped = "\n".join(built.metadata["skipped"])
    for line in (
        "2 x annotations without a mask",
        "2 x unreadable masks",
        "1 x annotations of an unlisted category",
        "1 x annotations without a usable image_id",
        "1 x annotations of an image without a usable entry",
        "1 x images without an object that can be told apart",
    ):
        assert line in skipped


def test_images_with_one_object_of_each_class_can_be_skipped(tmp_path):
    root = tmp_path / "manual"
    images = [draw(root, number, DOGS) for number in range(3)]
    # Two dogs; a cat and a dog; two dogs, one of them too small.
    small = (70, 50, 72, 52)
    annotations = [
        thing(10 * number + k, number, category, box)
        for number, pairs in enumerate(
            [
                [(18, DOGS[0]), (18, DOGS[1])],
                [(17, DOGS[0]), (18, DOGS[1])],
                [(18, DOGS[0]), (18, small)],
            ]
        )
        for k, (category, box) in enumerate(pairs)
    ]
    write(root, "train", images, annotations)
    built = build(root, tmp_path / "data", "several=true")
    assert [record["image_id"] for record in built.records("train")] == [b"0.png"]


def test_boxes_without_masks_are_refused(tmp_path):
    root = tmp_path / "manual"
    boxes = [{"id": 1, "image_id": 0, "category_id": 18, "bbox": [5, 10, 20, 40]}]
    write(root, "train", [draw(root, 0, DOGS)], boxes)
    with pytest.raises(ValueError, match="no image of this split can be used"):
        build(root, tmp_path / "data")


def test_other_categories_have_only_their_own_name(tmp_path):
    root = tmp_path / "manual"
    categories = [
        {"id": 1, "name": "Forklift_truck"},
        {"id": 2, "name": "pallet jack"},
        {"id": 3, "name": "xqzzy"},
    ]
    boxes = [*DOGS, (30, 5, 42, 25)]
    annotations = [thing(k, 0, k + 1, box) for k, box in enumerate(boxes)]
    write(root, "train", [draw(root, 0, boxes)], annotations, categories)
    built = build(root, tmp_path / "data")
    assert "3 x categories outside COCO's 80" in built.metadata["skipped"][0]
    record = built.records("train")[0]
    names = {"forklift truck", "pallet jack", "xqzzy"}
    for text, place in zip(texts(record), record["expressions"]["object"], strict=True):
        assert place < 0 or any(name in text for name in names)
    assert {c.decode() for c in record["objects"]["category"]} == names


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_built(tmp_path, mode):
    root = tmp_path / "manual"
    name = "{}.tif" if mode == "CMYK" else "{}.png"
    image = draw(root, 0, DOGS, name, mode)
    annotations = [thing(k, 0, 18, box) for k, box in enumerate(DOGS)]
    write(root, "train", [image], annotations)
    built = build(root, tmp_path / "data")
    assert list(check.check(built)) == []


@pytest.mark.skipif(not features.check("avif"), reason="needs AVIF in Pillow")
def test_avif_is_stored_as_jpeg(tmp_path):
    root = tmp_path / "manual"
    annotations = [thing(k, 0, 18, box) for k, box in enumerate(DOGS)]
    write(root, "train", [draw(root, 0, DOGS, "{}.avif")], annotations)
    built = build(root, tmp_path / "data")
    assert built.records("train")[0]["image"][:2] == b"\xff\xd8"
    assert list(check.check(built)) == []


def test_missing_images_are_refused_or_skipped(manual, tmp_path):
    (manual / "images" / "3.png").unlink()
    with pytest.raises(ValueError, match="the image is missing"):
        build(manual, tmp_path / "data")
    built = build(manual, tmp_path / "data", skip_bad=True)
    assert built.counts()["train"]["images"] == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("colour=red", "KEY of sources, expressions"),
        ("expressions", "is not KEY=VALUE"),
        ("expressions=many", "not of type int"),
        ("expressions=0", "at least 1"),
        ("loose=maybe", "not of type bool"),
        ("nothing=0.95", "below 0.9"),
        ("partial=elsewhere", "not among"),
        ("most_area=0.9", "at most 0.6"),
        ("most_area=0.01", "above 0.015"),
    ],
)
def test_wrong_options_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        options.make("x", [given])


def test_blanks_in_options_have_no_meaning():
    made = options.make("x", [" sources = a, b ,c", "loose= false", "partial= b"])
    assert made.folders() == {"a": True, "b": False, "c": True}
    assert made.loose is False


def test_ids_of_tables_and_parts_without_an_area(tmp_path):
    root, built = tmp_path / "manual", {}
    images = [draw(root, i, DOGS) for i in range(2)]
    annotations = [
        thing(10 * i + k, i, 18, box) for i in range(2) for k, box in enumerate(DOGS)
    ]
    for name in ("whole", "odd"):
        write(root, "train", images, annotations)
        built[name] = build(root, tmp_path / name)
        for entry in annotations:
            entry["image_id"] = str(entry["image_id"])
            entry["category_id"] = float(entry["category_id"])
            entry["segmentation"].append([1, 1, 9, 9])
    whole, odd = (
        [(texts(r), list(r["objects"]["mask"])) for r in built[name].records("train")]
        for name in ("whole", "odd")
    )
    assert whole == odd and whole[0][0]
    (skipped,) = built["odd"].metadata["skipped"]
    assert skipped == "4 x masks without their parts of fewer than 3 points"


def test_a_folder_without_annotations_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no instances_train\.json"):
        source.find_splits(tmp_path)


def test_memory_does_not_grow_with_the_size_of_the_outlines(tmp_path):
    outline = [float(i % 50) for i in range(600)]
    images = [
        {"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH}
        for i in range(100)
    ]
    entry = thing(1, 1, 18, DOGS[0]) | {"segmentation": [outline]}
    annotations = [entry | {"id": i, "image_id": i % 100} for i in range(1_900)]
    write(tmp_path, "train", images, annotations)
    path = tmp_path / "instances_train.json"
    tracemalloc.start()
    read = source.Instances(path, tmp_path, True, Problems())
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = path.stat().st_size
    assert size > 6_000_000
    assert kept < 0.05 * size and most < 0.8 * size
    assert len(list(read.entries(7))) == 19
    assert next(read.entries(7))["segmentation"] == [outline]
