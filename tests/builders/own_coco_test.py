import copy
import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tfds_builders import json_stream
from tfds_builders.annotations import Problems
from tfds_builders.custom import coco, json_lines

# Columns 1-2 of rows 1-3 of 6 x 8 pixels, and its RLE as COCO writes it.
SQUARE, SQUARE_RLE = [[1, 1, 3, 1, 3, 4, 1, 4]], "7330m0"
CONTENT = {
    "info": {"year": 2024},
    "images": [
        {"id": 2, "file_name": "b.png", "height": 6, "width": 8, "license": 1},
        {"id": 1, "file_name": "a.png", "height": 6, "width": 8},
        {"id": 3, "file_name": "of nothing.png", "height": 6, "width": 8},
    ],
    "annotations": [
        {"id": 10, "image_id": 1, "segmentation": SQUARE, "expressions": ["x"]},
        {
            "id": 11,
            "image_id": 1,
            "category_id": 5,
            "segmentation": {"size": [6, 8], "counts": [7, 3, 3, 3, 32]},
            "area": 6,
            "expressions": ["the cup", " Left cup "],
        },
        {"id": 12, "image_id": 3, "segmentation": None},
        {"id": 13, "image_id": 3, "expressions": []},
        {"id": 20, "image_id": 2, "segmentation": SQUARE, "expressions": ["y"]},
    ],
    "categories": [{"id": 5, "name": "cup", "supercategory": "kitchen"}],
}


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def read(root, content):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    (root / "train.json").write_bytes(content)
    problems = Problems()

    def one_by_one(function, items, what):
        return map(function, items)

    annotations = json_lines.read_annotations(root, problems, one_by_one)
    return annotations["train"], problems.lines


def test_objects_that_are_referred_to_are_read(root):
    images, problems = read(root, CONTENT)
    assert problems == []
    b, a = images  # In file order; image 3 has no expression.
    assert (a.image_id, a.path, a.size) == ("a.png", root / "a.png", (6, 8))
    assert [(t.object_id, t.category) for t in a.objects] == [("10", ""), ("11", "cup")]
    assert {t.mask for t in a.objects + b.objects} == {SQUARE_RLE}
    assert [(s.sent_id, s.sent, s.raw) for s in a.objects[1].sentences] == [
        ("11_0", "the cup", "the cup"),
        ("11_1", "Left cup", " Left cup "),
    ]


def test_a_null_segmentation_says_that_nothing_fits(root):
    content = copy.deepcopy(CONTENT)
    nothing = {"segmentation": None, "expressions": ["zebra"], "bbox": [0, 0, 0, 0]}
    content["annotations"] += [
        nothing | {"id": 30, "image_id": 1},
        nothing | {"id": 31, "image_id": 2, "bbox": [1, 1, 2, 3]},
    ]
    (b, a), problems = read(root, content)
    absent = a.objects[-1]
    assert absent.mask is None and absent.sentences[0].sent_id == "30_0"
    # Programs write null for objects that were only boxed.
    assert len(b.objects) == 1 and problems == [
        f"{root}/train.json, annotation 31: its segmentation is null (nothing fits), "
        "but it has a bbox; give the segmentation of the object, or remove the bbox"
    ]


def test_categories_are_optional(root):
    content = {k: v for k, v in CONTENT.items() if k != "categories"}
    images, problems = read(root, content)
    assert problems == []
    assert {t.category for image in images for t in image.objects} == {""}


def spoilt(part, place, **changes):
    content = copy.deepcopy(CONTENT)
    content[part][place].update(changes)
    entry = content[part][place]
    content[part][place] = {k: v for k, v in entry.items() if v != "absent"}
    return content


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (0, {"id": 11}, "annotation 11: 2 entries have this id"),
        (0, {"id": "absent"}, "annotation at 0: it lacks id"),
        (0, {"id": 1.5}, "annotation 1.5: its id is 1.5, expected text or a whole"),
        (
            0,
            {"image_id": 4},
            "annotation 10: its image 4 has no entry in images, with ids such as 2",
        ),
        (
            0,
            {"image_id": "01"},
            "annotation 10: its image '01' has no entry in images, with ids such as 2",
        ),
        (0, {"image_id": None}, "annotation 10: it lacks image_id"),
        (0, {"segmentation": "absent"}, "annotation 10: it lacks segmentation"),
        (0, {"segmentation": 5}, "annotation 10: its segmentation is 5, expected poly"),
        (0, {"segmentation": [[1, 1, 3, 3]]}, "annotation 10: the segmentation cannot"),
        (0, {"segmentation": [[9, 9, 12, 9, 12, 12]]}, "10: the mask has no pixel"),
        (
            0,
            {"segmentation": {"size": [8, 6], "counts": [48]}},
            "annotation 10: the mask is [8, 6] pixels (height, width)",
        ),
        (0, {"category_id": 6}, "annotation 10: its category 6 has no usable entry in"),
        (0, {"category_id": [6]}, "annotation 10: its category_id is [6], expected"),
        (0, {"expressions": "x"}, "annotation 10: its expressions is 'x', expected a"),
        (0, {"expressions": [" . "]}, "10, expression 0: the expression is empty"),
        (0, {"expressions": [5]}, "10, expression 0: the expression is 5, not text"),
        (0, {"expressions": ["\udc80"]}, "10, expression 0: the expression cannot be"),
        (
            0,
            {"expressions": "absent", "expresions": ["x"]},
            "annotation 10: unknown field 'expresions'; is it 'expressions'?",
        ),
    ],
)
def test_a_bad_annotation_is_named(place, changes, message, root):
    images, problems = read(root, spoilt("annotations", place, **changes))
    assert len(problems) == 1
    assert problems[0].startswith(f"{root}/train.json, annotation ")
    assert message in problems[0]
    left = {t.object_id for image in images for t in image.objects}
    # With a duplicate id, the intended annotation is unknown.
    assert left == ({"20"} if changes.get("id") == 11 else {"11", "20"})


def test_an_entry_of_another_type_is_named(root):
    content = CONTENT | {"annotations": [7, *CONTENT["annotations"]]}
    images, problems = read(root, content)
    assert len(images) == 2
    assert problems == [
        f"{root}/train.json, annotation at 0: it is 7, expected {{...}}"
    ]


def test_only_the_empty_expression_is_skipped(root):
    images, problems = read(root, spoilt("annotations", 1, expressions=["", "cup"]))
    assert len(problems) == 1
    assert [s.sent for s in images[1].objects[1].sentences] == ["cup"]


@pytest.mark.parametrize(
    ("place", "changes", "messages"),
    [
        (0, {"file_name": "no.png"}, ["image 2: no.png: the image is missing"]),
        (0, {"file_name": "../b.png"}, ["image 2: ../b.png: '../b.png' leads out of"]),
        (0, {"file_name": "a.png"}, ["image 1: a.png is the file of image 2 as well"]),
        (0, {"width": 6}, ["image 2: b.png: it is 6 x 8 pixels, but its annotations"]),
        (
            0,
            {"height": -6},
            ["image 2: b.png: it is 6 x 8 pixels, but its annotations"],
        ),
        (
            0,
            {"height": "6"},
            ["image 2: its height is '6', expected a whole number of pixels"],
        ),
        (
            0,
            {"height": 6.5},
            ["image 2: its height is 6.5, expected a whole number of pixels"],
        ),
        (
            0,
            {"id": 3},
            ["image 3: 2 entries have this id", "20: its image 2 has no entry in"],
        ),
    ],
)
def test_a_bad_image_entry_is_named(place, changes, messages, root):
    images, problems = read(root, spoilt("images", place, **changes))
    assert len(images) == 1
    assert len(problems) == len(messages)
    for message in messages:
        assert any(message in problem for problem in problems)


def test_a_rotated_image_is_named(root):
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.new("RGB", (8, 6)).save(root / "a.png", exif=turned)
    images, problems = read(root, CONTENT)
    assert [image.image_id for image in images] == ["b.png"]
    assert len(problems) == 1
    assert "image 1: a.png: it is stored rotated (EXIF orientation 3)" in problems[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not in COCO's format: it is not JSON"),
        (b'{"images": "\xff"}', "is not in COCO's format: it is not UTF-8"),
        (b'{"images": [], "images": []}', "it has the field 'images' twice"),
        (b"[]", "is not in COCO's format: it is not an object"),
        ({"images": []}, "it has no list of annotations"),
        ({"images": {}, "annotations": []}, "it has no list of images"),
        (CONTENT | {"categories": {}}, "it has no list of categories"),
        (
            {"images": [], "annotations": [{"id": 5, "expressions": []}, 7]},
            "No annotation of .*train.json has expressions",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(content, message, root):
    with pytest.raises(ValueError, match=message) as raised:
        read(root, content)
    assert f"{root}/train.json" in str(raised.value)


def test_a_large_file_takes_little_memory(root, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 1 << 16)
    outline = [float(number % 7) for number in range(400)]
    nobodys = {"image_id": 1, "segmentation": [outline]}
    others = [nobodys | {"id": number} for number in range(100, 3_100)]
    content = CONTENT | {"annotations": others + CONTENT["annotations"]}
    (root / "train.json").write_text(json.dumps(content))
    size = (root / "train.json").stat().st_size
    del content, others
    tracemalloc.start()
    kept = coco._read_file(root / "train.json", Problems())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [entry["id"] for entry in kept["annotations"]] == [10, 11, 20]
    # Parsed whole, it takes more than five times its size.
    assert size > 5e6 and peak < 0.2 * size


@pytest.mark.parametrize("write_id", [str, float])
def test_numbers_of_tables_are_those_of_the_file(write_id, root):
    """Programs write an id as 1, 1.0 or "1", and a size as 6 or 6.0."""
    expected, _ = read(root, CONTENT)
    content = copy.deepcopy(CONTENT)
    for image in content["images"]:
        image.update(id=write_id(image["id"]), height=6.0, width=8.0)
    content["categories"][0]["id"] = write_id(5)
    images, problems = read(root, content)
    assert problems == [] and images == expected
    content = copy.deepcopy(CONTENT)
    for annotation in content["annotations"]:
        annotation["id"] = write_id(annotation["id"])
        annotation["image_id"] = write_id(annotation["image_id"])
    content["annotations"][1]["category_id"] = write_id(5)
    images, problems = read(root, content)
    assert problems == [] and images == expected


def test_one_number_and_its_text_are_one_id(root):
    _, problems = read(root, spoilt("annotations", 0, id="11"))
    assert problems == [f"{root}/train.json, annotation 11: 2 entries have this id"]


def test_a_single_polygon_may_be_flat(root):
    images, problems = read(root, spoilt("annotations", 0, segmentation=SQUARE[0]))
    assert problems == []
    assert images[1].objects[0].mask == SQUARE_RLE


def test_an_object_stays_without_its_part_of_two_points(root):
    parts = [*SQUARE, [5, 5, 6, 6]]
    images, problems = read(root, spoilt("annotations", 0, segmentation=parts))
    (problem,) = problems
    assert "annotation 10: a polygon of its mask has fewer than 3 points" in problem
    assert "(part 2 has 2)" in problem
    assert images[1].objects[0].mask == SQUARE_RLE
