import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tfds_builders.annotations import Problems
from tfds_builders.custom import json_lines

# Two parts on 6 x 8 pixels: columns 1-2 of rows 1-3, columns 5-7 of rows 0-1.
TWO_PARTS = np.zeros((6, 8), bool)
TWO_PARTS[1:4, 1:3] = TWO_PARTS[0:2, 5:8] = True
POLYGONS = [[1, 1, 3, 1, 3, 4, 1, 4], [5, 0, 8, 0, 8, 2, 5, 2]]
RUNS = {"size": [6, 8], "counts": [7, 3, 3, 3, 14, 2, 4, 2, 4, 2, 4]}
RLE = {"size": [6, 8], "counts": "7330;OF0000"}
FIRST_PART = [POLYGONS[0]]
LINE = {"image": "a.png", "expression": "left one", "mask": POLYGONS}


@pytest.fixture
def root(tmp_path):
    """Returns a folder of images and masks of all kinds, without annotations."""
    for name in ("a.png", "b.png", "c.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    (tmp_path / "bomb.png").write_bytes(head_of_png(20_000, 20_000))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "masks").mkdir()
    save_mask(tmp_path / "masks/two.png", TWO_PARTS)
    save_mask(tmp_path / "masks/turned.png", TWO_PARTS.T)
    save_mask(tmp_path / "masks/none.png", TWO_PARTS & False)
    (tmp_path / "masks/empty.png").touch()
    return tmp_path


def head_of_png(width, height):
    def chunk(name, body):
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


def save_mask(path, mask):
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def write(path, *lines):
    """Writes lines: bytes as they are, other values as JSON."""
    encoded = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines]
    path.write_bytes(b"\n".join(encoded) + b"\n")


def read(root):
    problems = Problems()

    def one_by_one(function, items, what):
        assert what
        return map(function, items)

    annotations = json_lines.read_annotations(root, problems, one_by_one)
    return annotations, problems.lines


def said(images):
    return [
        (image.image_id, thing.object_id, sentence.sent)
        for image in images
        for thing in image.objects
        for sentence in thing.sentences
    ]


@pytest.mark.parametrize("mask", [POLYGONS, RUNS, RLE, [RLE], "masks/two.png"])
def test_every_form_of_a_mask_gives_the_same_pixels(mask, root):
    write(root / "train.jsonl", LINE | {"mask": mask})
    annotations, problems = read(root)
    assert problems == []
    (image,) = annotations["train"]
    assert (image.path, image.size) == (root / "a.png", (6, 8))
    assert image.objects[0].mask == "7330;OF0000"


def test_a_mask_from_an_editor_is_its_drawn_opaque_part(root):
    opaque = np.zeros((6, 8, 4), np.uint8)
    opaque[TWO_PARTS] = 255
    drawn = opaque.copy()
    opaque[..., 3] = 255
    drawn[~TWO_PARTS, :3] = 255  # White but transparent.
    for name, pixels in (("opaque", opaque), ("drawn", drawn)):
        Image.fromarray(pixels).save(root / f"masks/{name}.png")
    Image.fromarray(opaque).convert("LA").save(root / "masks/grey.PNG")
    names = ("opaque.png", "drawn.png", "grey.PNG")
    lines = [LINE | {"mask": f"masks/{n}", "object_id": n} for n in names]
    write(root / "train.jsonl", *lines)
    annotations, problems = read(root)
    assert problems == []
    things = annotations["train"][0].objects
    assert [thing.mask for thing in things] == 3 * ["7330;OF0000"]


def test_lines_of_an_image_are_grouped_at_its_first_line(root):
    write(
        root / "train.jsonl",
        LINE | {"image": "b.png", "object_id": 7},
        LINE,
        LINE | {"expression": " The LEFT one. ", "mask": RLE, "image": "./a.png"},
        b"",
        LINE | {"expression": "cup", "mask": FIRST_PART, "category": "cup"},
        LINE | {"image": "b.png", "object_id": "7", "expression": "more"},
        LINE | {"image": "b.png", "object_id": "8", "category": None},
    )
    annotations, problems = read(root)
    assert problems == []
    b, a = annotations["train"]
    assert (b.image_id, a.image_id) == ("b.png", "a.png")
    assert [thing.object_id for thing in b.objects] == ["7", "8"]
    # Without a name, the same mask is the same object.
    both, cup = a.objects
    assert both.object_id == both.ref_id == "train.jsonl:2"
    assert [(s.sent_id, s.sent, s.raw) for s in both.sentences] == [
        ("train.jsonl:2", "left one", "left one"),
        ("train.jsonl:3", "The LEFT one.", " The LEFT one. "),
    ]
    assert (cup.object_id, cup.category) == ("train.jsonl:5", "cup")
    assert [s.sent for s in b.objects[0].sentences] == ["left one", "more"]


def test_files_from_windows_editors_are_read(root):
    write(root / "train.jsonl", b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r")
    annotations, problems = read(root)
    assert problems == [] and len(annotations["train"]) == 1


def line(**changes):
    return {k: v for k, v in (LINE | changes).items() if v != "absent"}


FAULTS = {
    b"{'image': 1}": "it is not JSON (Expecting property name",
    b'{"image": "a.png", "expr': "it is not JSON (Unterminated string",
    b"[" * 100_000: "its JSON is nested too deeply",
    b'{"image": "\xe4"}': "it is not UTF-8",
    b'{"mask": 1, "mask": 2}': "it has the field 'mask' twice",
    b"[1]": "it is [1], expected {...}",
    b"null": "it is None, expected {...}",
}
FIELD_FAULTS = [
    ({"image": "absent"}, "it lacks image"),
    ({"expression": "absent", "mask": "absent"}, "it lacks expression, mask"),
    ({"mask": None, "object_id": 1}, "its mask is null (nothing fits), but it has obj"),
    ({"mask": None, "category": "cup"}, "fits), but it has category; give the mask of"),
    (
        {"expression": "absent", "expresion": "left one"},
        "unknown field 'expresion'; a line has image, expression, mask and may have "
        "object_id, category",
    ),
    ({"image": 5}, "its image is 5, expected text"),
    ({"expression": ["left"]}, "its expression is ['left'], expected text"),
    ({"mask": 5}, "its mask is 5, expected the path of a PNG file, polygons or"),
    ({"object_id": 1.5}, "its object_id is 1.5, expected text or a whole number"),
    ({"object_id": True}, "its object_id is True"),
    ({"category": 5}, "its category is 5, expected text"),
    ({"expression": ""}, "the expression is empty"),
    ({"expression": " \u00a0. "}, "the expression is empty"),
    ({"expression": "\ud800"}, "its text cannot be stored"),
    ({"image": "/a.png"}, "'/a.png' leads out of the manual directory"),
    ({"image": "masks/../a.png"}, "leads out of the manual directory"),
    ({"mask": "../two.png"}, "'../two.png' leads out of the manual directory"),
    ({"image": "absent.png"}, "absent.png: the image is missing"),
    ({"image": "a" * 5000}, "File name too long"),
    ({"image": "a\0.png"}, "the image is missing"),
    ({"image": "masks"}, "masks: it is not an image"),
    ({"image": "empty.jpg"}, "empty.jpg: the file has no bytes"),
    ({"image": "text.jpg"}, "text.jpg: it is not an image"),
    ({"image": "bomb.png"}, "bomb.png: it is not an image (Image size (400000000 "),
    ({"image": "turned.jpg"}, "turned.jpg: it is stored rotated (EXIF orientation 6)"),
    ({"mask": "masks/absent.png"}, "masks/absent.png: it is missing, damaged or no"),
    ({"mask": "masks/empty.png"}, "masks/empty.png: it is missing, damaged or no"),
    ({"mask": "masks/turned.png"}, "the mask is [8, 6] pixels (height, width), its"),
    ({"mask": "masks/none.png"}, "masks/none.png: the mask has no pixel"),
    ({"mask": "masks/two.jpg"}, "'masks/two.jpg' is not the path of a PNG file"),
    ({"mask": [[1, 1, 4, 4]]}, "a polygon has 2 points, fewer than 3"),
    ({"mask": [1, 1, 4, 4]}, "a polygon has 2 points, fewer than 3"),
    (
        {"mask": [[[1, 1], [4, 4], [1, 4]]]},
        "a polygon is [[1, 1], [4, 4], [1, 4]], not a list x, y, x, y",
    ),
    (
        {"mask": [[1, 1], [4, 4], [1, 4]]},
        "a polygon has 1 points, fewer than 3; write all its points in one list x, y",
    ),
    ({"mask": [[1, 1, 4000, 4, 1, 4]]}, "a polygon lies far outside the image"),
    ({"mask": [[20, 20, 30, 20, 30, 30]]}, "the mask has no pixel"),
    ({"mask": []}, "the mask has no pixel"),
    ({"mask": {"size": [8, 6], "counts": "7330;OF0000"}}, "the mask is [8, 6] pixels"),
    ({"mask": {"size": [6, 8]}}, "cannot be read: 'counts'"),
    ({"mask": {"size": [6, 8], "counts": [7, 3]}}, "its runs cover 10 pixels, not 48"),
    ({"mask": {"size": [6, 8], "counts": [48]}}, "the mask has no pixel"),
]


@pytest.mark.parametrize(
    ("fault", "message"),
    [*FAULTS.items(), *((line(**changes), m) for changes, m in FIELD_FAULTS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_line_is_named_and_skipped(fault, message, root):
    write(root / "val.jsonl", LINE, b"  ", fault, LINE | {"expression": "last"})
    annotations, problems = read(root)
    (problem,) = problems
    assert problem.startswith(f"{root}/val.jsonl, line 3: ")
    assert message in problem
    assert [sent for _, _, sent in said(annotations["val"])] == ["left one", "last"]


def test_a_null_mask_says_that_nothing_fits(root):
    nothing = LINE | {"mask": None}
    write(
        root / "train.jsonl",
        nothing | {"expression": "zebra"},
        LINE,
        nothing | {"expression": "a red car", "object_id": None},
        nothing | {"image": "b.png", "expression": "dog"},
    )
    annotations, problems = read(root)
    assert problems == []
    a, b = annotations["train"]
    absent, present = a.objects
    assert absent.mask is None and present.mask == "7330;OF0000"
    assert [s.sent_id for s in absent.sentences] == ["train.jsonl:1", "train.jsonl:3"]
    assert [thing.mask for thing in b.objects] == [None]


def test_an_object_of_two_masks_is_named(root):
    named = LINE | {"object_id": "cup"}
    write(
        root / "train.jsonl",
        LINE | {"image": "b.png"},
        named,
        named | {"mask": FIRST_PART},
        # In another image, the name refers to another object.
        named | {"mask": FIRST_PART, "image": "c.jpg"},
    )
    annotations, problems = read(root)
    assert problems == [
        f"{root}/train.jsonl, line 3: its mask is not that of line 2, which has the "
        "same object_id 'cup'"
    ]
    assert [name for name, _, _ in said(annotations["train"])] == [
        *("b.png", "a.png", "c.jpg")
    ]


def test_an_object_of_two_categories_is_named(root):
    categories = ({}, {"category": "cup"}, {}, {"category": "dog"})
    write(root / "train.jsonl", *(LINE | category for category in categories))
    annotations, problems = read(root)
    assert problems == [
        f"{root}/train.jsonl, line 4: its category 'dog' is not that of line 2, 'cup', "
        "which is of the same object"
    ]
    assert annotations["train"][0].objects[0].category == "cup"


def test_a_fixed_mask_is_read_again(root):
    write(root / "train.jsonl", LINE | {"mask": "masks/none.png"})
    assert len(read(root)[1]) == 1
    save_mask(root / "masks/none.png", TWO_PARTS)
    assert read(root)[1] == []


# Splits.


def test_each_file_is_a_split(root):
    for name in ("train.JSONL", "test_2.jsonl", "._train.jsonl", "notes.txt"):
        write(root / name, LINE)
    write(root / "masks" / "deeper.jsonl", LINE)
    annotations, problems = read(root)
    assert problems == [] and list(annotations) == ["test_2", "train"]


def test_a_folder_without_annotations_is_refused_with_the_expected_files(root):
    with pytest.raises(FileNotFoundError, match=f"{root} has no annotations") as raised:
        read(root)
    for part in ("train.jsonl", "val.json ", "tfds_builders/custom/README.md"):
        assert part in str(raised.value)


def test_a_split_in_both_forms_is_refused(root):
    write(root / "train.jsonl", LINE)
    write(root / "train.json", {})
    with pytest.raises(
        ValueError, match=r"'train' twice, as train\.json and as train\.jsonl; remove"
    ):
        read(root)


@pytest.mark.parametrize("name", ["all", "my-notes", "a b", "unc:val", "é"])
def test_an_invalid_split_name_is_refused(name, root):
    write(root / f"{name}.jsonl", LINE)
    with pytest.raises(ValueError, match=f"would be a split called '{name}'"):
        read(root)


def test_a_file_without_a_line_is_refused(root):
    write(root / "train.jsonl", b"", b"  ")
    with pytest.raises(ValueError, match=r"train\.jsonl has no line"):
        read(root)


def test_only_the_part_without_an_area_is_skipped(root):
    whole = {"mask": POLYGONS, "object_id": 7}
    write(
        root / "train.jsonl",
        LINE | whole,
        LINE | whole | {"mask": [POLYGONS[0], [2, 2, 3, 3], POLYGONS[1], []]},
        # 7 and "7" are one object, so this is its third line.
        LINE | whole | {"object_id": "7", "expression": "again"},
    )
    annotations, problems = read(root)
    (thing,) = annotations["train"][0].objects
    assert thing.mask == "7330;OF0000" and len(thing.sentences) == 3
    assert problems == [
        f"{root}/train.jsonl, line 2: a polygon of its mask has fewer than 3 points "
        "and no area (part 2 has 2, part 4 has 0); remove it, or skip only this part "
        "with --skip_bad"
    ]
