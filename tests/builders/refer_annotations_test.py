import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from tfds_builders import refer_annotations

# Two parts on 6 x 8 pixels: columns 1, 2 of rows 1 to 3, columns 5 to 7 of rows 0, 1.
HEIGHT, WIDTH = 6, 8
TWO_PARTS = np.zeros((HEIGHT, WIDTH), bool)
TWO_PARTS[1:4, 1:3] = TWO_PARTS[0:2, 5:8] = True
SIZE = [HEIGHT, WIDTH]


def encode(segmentation):
    what = "ref 1, object 2"
    return refer_annotations.encode_segmentation(segmentation, HEIGHT, WIDTH, what)


def decode(counts):
    return mask_util.decode({"size": SIZE, "counts": counts.encode()}).astype(bool)


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param(
            [[1, 1, 3, 1, 3, 4, 1, 4], [5, 0, 8, 0, 8, 2, 5, 2]], id="polygons"
        ),
        pytest.param(
            # The parts overlap: a union, not a sum or a difference.
            [
                [1, 1, 3, 1, 3, 3, 1, 3],
                [1, 2, 3, 2, 3, 4, 1, 4],
                [5, 0, 8, 0, 8, 2, 5, 2],
            ],
            id="overlapping polygons",
        ),
        pytest.param(
            # Runs of zeros and ones, column by column.
            {"size": SIZE, "counts": [7, 3, 3, 3, 14, 2, 4, 2, 4, 2, 4]},
            id="runs",
        ),
        pytest.param(
            # COCO's string: from the fourth on, each run less the one before the last.
            {"size": SIZE, "counts": "7330;OF0000"},
            id="string",
        ),
        pytest.param(
            [
                {"size": SIZE, "counts": [7, 3, 3, 3, 32]},
                {"size": SIZE, "counts": [30, 2, 4, 2, 4, 2, 4]},
            ],
            id="list of runs",
        ),
        pytest.param(
            [
                {"size": SIZE, "counts": [7, 3, 3, 3, 32]},
                [5, 0, 8, 0, 8, 2, 5, 2],
            ],
            id="runs and polygon",
        ),
    ],
)
def test_every_encoding_gives_the_same_mask(segmentation):
    counts = encode(segmentation)
    np.testing.assert_array_equal(decode(counts), TWO_PARTS)
    assert counts == "7330;OF0000"


@pytest.mark.parametrize("counts", [[7, 3, 38], "73O"])
def test_a_mask_of_another_size_than_its_image_is_named(counts):
    # As many pixels, so only the size can tell.
    with pytest.raises(
        ValueError, match=r"ref 1, object 2: the mask is \[8, 6\] .* image \[6, 8\]"
    ):
        encode({"size": [WIDTH, HEIGHT], "counts": counts})


@pytest.mark.parametrize(
    "empty", [[], {"size": SIZE, "counts": [48]}, [[20, 20, 25, 20, 25, 25]]]
)
def test_a_mask_without_a_pixel_is_named(empty):
    with pytest.raises(ValueError, match="ref 1, object 2: the mask has no pixel"):
        encode(empty)


@pytest.mark.parametrize(
    "garbage",
    [
        [["a", "b", "c", "d", "e", "f"]],
        [[1, 1]],
        [[]],
        "polygons",
        {"size": SIZE},
        {"size": SIZE, "counts": [-4, 52]},
        # pycocotools itself would crash on these.
        [[float("nan"), 0, 4, 0, 4, 4]],
        [[float("inf"), 0, 4, 0, 4, 4]],
        [[1e9, 0, 4, 0, 4, 4]],
    ],
)
def test_a_segmentation_of_no_known_form_is_named(garbage):
    with pytest.raises(ValueError, match="ref 1, object 2: the segmentation cannot be"):
        encode(garbage)


@pytest.mark.parametrize("garbage", [None, 5, {"counts": [7, 41]}])
def test_a_segmentation_of_no_form_at_all_is_named(garbage):
    with pytest.raises(ValueError, match="ref 1, object 2"):
        encode(garbage)


@pytest.mark.parametrize("counts", [[7, 3], [7, 3, 300], "73", "73Y:"])
def test_runs_that_do_not_cover_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="ref 1, object 2"):
        encode({"size": SIZE, "counts": counts})


def test_refs_of_python_2_are_read(tmp_path):
    # As the published files are: strings of bytes. Protocol 0 is readable.
    (tmp_path / "refs.p").write_bytes(
        b"(l(dS'ref_id'\nI7\nsS'ann_id'\nI8\nsS'image_id'\nI9\nsS'split'\nS'val'\n"
        b"sS'sentences'\n(l(dS'sent'\nS'caf\\xc3\\xa9'\nsS'raw'\nS'x'\nsS'sent_id'\nI5\nsasa."
    )
    (ref,) = refer_annotations.read_refs(tmp_path / "refs.p")
    assert ref["split"] == "val"
    assert ref["sentences"] == [{"sent_id": 5, "sent": "café", "raw": "x"}]
    assert (ref["ref_id"], ref["ann_id"], ref["image_id"]) == (7, 8, 9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY random bytes", r"refs\.p is not a pickle of refs"),
        (b"", r"refs\.p is not a pickle of refs"),
        (pickle.dumps([{"a": 1}])[:-5], r"refs\.p is not a pickle of refs"),
        (pickle.dumps({"refs": []}), r"refs\.p holds a dict, not a list of refs"),
        (pickle.dumps([]), r"refs\.p holds a list"),
        (pickle.dumps([1]), r"refs\.p, entry 0: a ref needs the fields"),
        (
            pickle.dumps([{"ref_id": 1, "ann_id": 2, "image_id": 3, "split": "val"}]),
            r"entry 0: a ref needs .*\['sentences'\] are missing",
        ),
    ],
)
def test_a_file_that_is_no_refs_is_named(content, message, tmp_path):
    (tmp_path / "refs.p").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        refer_annotations.read_refs(tmp_path / "refs.p")


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"images": [], "annotations": []}',
        '{"images": [{}]}',
        "\udcff",
    ],
)
def test_a_file_that_is_no_instances_is_named(content, tmp_path):
    path = tmp_path / "instances.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"instances\.json is not .* Unpack it again"):
        refer_annotations.read_instances(path)


def test_of_many_missing_images_five_are_named_and_all_are_counted(tmp_path):
    instances = {"images": {i: {"file_name": f"{i}.jpg"} for i in range(8)}}
    (tmp_path / "3.jpg").touch()
    with pytest.raises(FileNotFoundError) as raised:
        refer_annotations.find_image_files(instances, set(range(8)), str(tmp_path))
    message = str(raised.value)
    assert message.startswith("7 files are missing")
    named = [i for i in range(8) if f"{os.sep}{i}.jpg" in message]
    assert named == [0, 1, 2, 4, 5] and "and 2 more" in message


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_an_image_of_other_colors_is_stored_as_rgb(mode, tmp_path):
    image = Image.new("RGB", (5, 4), (200, 100, 40)).convert(mode)
    image.save(tmp_path / "a.jpg")
    stored = Image.open(refer_annotations.read_image(tmp_path / "a.jpg", 4, 5))
    assert stored.mode == "RGB" and stored.size == (5, 4)
    wanted = Image.open(io.BytesIO((tmp_path / "a.jpg").read_bytes())).convert("RGB")
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(wanted))
