import collections

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.data import masks
from restr_jax.data.splits import Split
from restr_jax.drawing import gallery
from restr_jax.evaluation import album


def test_the_middle_of_each_group_is_selected_from_worst_to_best():
    # One expression an image, so nothing is left to chance.
    ious = {(image, 0): 0.1 * (7 * image % 10) for image in range(10)}
    found = album.select(ious, 5, seed=0)
    # Ranks 1, 3, 5, 7, 9 of the groups 0-1, 2-3, ...
    assert [round(ious[p], 1) for p in found] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert [round(ious[p], 1) for p in album.select(ious, 1, seed=0)] == [0.5]
    assert album.select(ious, 99, seed=0) == sorted(ious, key=ious.get)
    assert album.select(ious, 0, seed=0) == [] == album.select({}, 4, seed=0)


def test_each_image_is_selected_once_whatever_its_number_of_expressions():
    counts = {0: 30, 1: 1, 2: 5, 3: 1}
    ious = {(image, k): k / 30 for image, count in counts.items() for k in range(count)}
    found = album.select(ious, 4, seed=1)
    assert collections.Counter(image for image, _ in found) == dict.fromkeys(counts, 1)


def test_the_selection_represents_good_and_bad_images():
    # 70 images with an IoU of 0.9 and 30 with 0: of ten cases, three are failures.
    ious = {(i, k): 0.9 * (i >= 30) for i in range(100) for k in range(1 + i % 3)}
    found = [ious[p] for p in album.select(ious, 10, seed=2)]
    assert found == [0.0] * 3 + [0.9] * 7


def test_the_drawn_expressions_do_not_depend_on_the_scores():
    rng = np.random.default_rng(0)
    positions = [(i, k) for i in range(20) for k in range(6)]
    one, other = (
        {p: float(x) for p, x in zip(positions, rng.random(120), strict=True)}
        for _ in range(2)
    )
    drawn = [set(album.select(ious, 20, seed=3)) for ious in (one, other)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != set(album.select(one, 20, seed=4))
    assert {k for _, k in drawn[0]} == set(range(6))


def record_of(pixels, truth, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    objects = {"mask": [masks.to_rle(truth)["counts"].encode()]}
    expressions = {"object": np.array([0, -1])}
    return {
        "image": path.read_bytes(),
        "image_id": b"7",
        "objects": objects,
        "expressions": expressions,
    }


def scored(mask, **changes):
    record = {"image_id": "7", "expression": "the square", "iou": 0.5}
    return record | {"no_target": False, "mask": masks.to_rle(mask)} | changes


def near(pixels, color):
    return np.abs(pixels.astype(int) - color).sum(-1) < 90


def test_both_outlines_are_drawn_in_their_own_colours(tmp_path):
    gray = np.full((80, 160, 3), 128, np.uint8)
    truth, mask = np.zeros((2, 80, 160), bool)
    truth[20:60, 20:60] = True
    mask[20:60, 100:140] = True
    source = [record_of(gray, truth, tmp_path)]
    split = Split("custom:val", source, [["the square"]], ["own/7"])
    records = {(0, 0): scored(mask)}
    (case,) = album.draw(tmp_path, "custom-val-8", split, records, 4, seed=0)
    assert case["file"] == "custom-val-8-000000-00.jpg"
    assert (case["found"], case["images"], case["others"]) == (True, 1, [])
    with Image.open(tmp_path / case["file"]) as drawn:
        pixels = np.asarray(drawn)
    assert pixels.shape == (320, 640, 3)
    left, right = pixels[:, :320], pixels[:, 320:]
    # The square's outline is 4 * 160 pixels long, the line about 4 pixels wide.
    assert 1000 < near(left, gallery.TRUTH).sum() < 6000
    assert 800 < near(right, gallery.PREDICTION).sum() < 5000
    assert not near(right, gallery.TRUTH).any()
    assert not near(left, gallery.PREDICTION).any()
    # An outline, no fill.
    assert near(pixels[140:180, 140:180], 128).all()


def test_a_case_has_the_other_expressions_and_empty_masks(tmp_path):
    gray, truth = np.full((8, 8, 3), 128, np.uint8), np.eye(8, dtype=bool)
    source = [record_of(gray, truth, tmp_path)]
    split = Split("custom:val", source, [["the square", "zebra"]], ["own/7"])
    empty = np.zeros((8, 8), bool)
    records = {
        (0, 0): scored(truth, iou=1.0),
        (0, 1): scored(empty, expression="zebra", no_target=True, iou=1.0),
    }
    assert mask_util.area(records[0, 0]["mask"]) == 8
    cases = [album.draw(tmp_path, "a", split, records, 1, seed)[0] for seed in range(8)]
    by_expression = {case["expression"]: case for case in cases}
    zebra = by_expression["zebra"]
    assert zebra["no_target"] and not zebra["found"]
    assert zebra["others"] == [{"expression": "the square", "iou": 1.0}]
    assert by_expression["the square"]["others"][0]["expression"] == "zebra"
    with Image.open(tmp_path / zebra["file"]) as drawn:
        assert near(np.asarray(drawn), 128).all()
