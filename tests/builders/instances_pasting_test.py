"""Checks pasted scenes, made from drawn images, pixel by pixel."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tfds_builders import prepare
from tfds_builders.annotations import Problems
from tfds_builders.instances import pasting, source
from tfds_builders.storage.built import Built

HEIGHT, WIDTH = 120, 160
GROUND = (20, 40, 200)
PAINTS = {16: (220, 30, 30), 17: (30, 200, 40)}  # birds, cats
CATEGORIES = [{"id": 16, "name": "bird"}, {"id": 17, "name": "cat"}]


def ellipse(center, radii):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 <= 1


def polygon(center, radii):
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = np.stack([np.cos(turn), np.sin(turn)], 1) * radii + center + 0.5
    return [points.ravel().tolist()]


@pytest.fixture
def root(tmp_path):
    """Returns photographs of one bird or cat, in one colour; the first is empty."""
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for i in range(5):
        pixels = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
        center, radii = (80, 60), (18 + 4 * i, 14 + 3 * i)
        category = 16 + i % 2
        pixels[ellipse(center, radii)] = PAINTS[category]
        if i == 0:
            pixels[:] = GROUND
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        images.append(
            {"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH}
        )
        entry = {"id": i, "image_id": i, "category_id": category, "iscrowd": 0}
        if i:
            entry["segmentation"] = polygon(center, radii)
            annotations.append(entry)
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    content["images"] = [images[1] | {"file_name": "scored.png"}]
    (tmp_path / "instances_val.json").write_text(json.dumps(content))
    return tmp_path


def scenes(root, number):
    read = source.Instances(root / "instances_train.json", root, True, Problems())
    paster = pasting.Paster([read], 0.2)
    ground = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    for i in range(number):
        empty = source.things.Scene((HEIGHT, WIDTH), [], complete=read.complete)
        yield paster.paste(ground, empty, np.random.default_rng((5, i)))


def test_masks_match_the_visible_pixels_exactly(root):
    names = {16: "bird", 17: "cat"}
    pasted, of_a_class = 0, Counter()
    for pixels, scene in scenes(root, 40):
        every = np.zeros((HEIGHT, WIDTH), int)
        for i, thing in enumerate(scene.things):
            mask = scene.mask(i)
            every += mask
            inner = ndimage.binary_erosion(mask, iterations=3)
            paint = next(
                PAINTS[k] for k, name in names.items() if name == thing.category
            )
            strongest = int(np.argmax(paint))
            # Lighting changes by at most a third and never reorders the channels.
            assert (pixels[inner].argmax(-1) == strongest).all()
            pasted += 1
        assert every.max(initial=0) <= 1
        free = ~ndimage.binary_dilation(every > 0, iterations=5)
        assert (pixels[free] == GROUND).all()
        changed = (pixels != GROUND).any(-1)
        rim = ndimage.binary_dilation(every > 0, iterations=5)
        assert not (changed & ~rim).any()
        counts = Counter(t.category for t in scene.things)
        of_a_class[max(counts.values(), default=0)] += 1
    assert pasted > 60 and of_a_class[2] > 5 and of_a_class[3] > 2


def test_a_hidden_object_gets_no_expression_but_is_counted(root):
    hidden = [
        thing
        for _, scene in scenes(root, 60)
        for thing in scene.things
        if not thing.target
    ]
    full = [s for _, s in scenes(root, 10)]
    assert all(t.area > 0 for s in full for t in s.things)
    assert all(thing.area > 0 for thing in hidden)


def test_objects_below_a_pasted_one_lose_its_pixels(root):
    read = source.Instances(root / "instances_train.json", root, True, Problems())
    photograph = read.photographs[-1]
    pixels = np.asarray(Image.open(photograph.path))
    below = source.read_scene(read, photograph, pixels, Counter())
    before = below.mask(0)
    paster, hidden = pasting.Paster([read], 0.2), []
    for i in range(40):
        _, scene = paster.paste(pixels, below, np.random.default_rng(i))
        after, others = scene.mask(0), np.zeros_like(before)
        for k in range(1, len(scene.things)):
            others |= scene.mask(k)
        if scene.things[0].object_id == below.things[0].object_id:
            assert (after == before & ~others).all()
            share = after.sum() / before.sum()
            assert scene.things[0].target == (share >= pasting.VISIBLE)
            hidden.append(share < 1)
    assert any(hidden) and not all(hidden)


def test_scenes_are_built_from_training_images_only(root, tmp_path):
    given = ("scenes=12", "seed=3")
    for data in ("a", "b"):
        folder = str(tmp_path / data)
        workers = 1 if data == "a" else 3
        prepare.prepare(
            "instances/pasted", folder, str(root), given=given, num_workers=workers
        )
    one, two = (Built(str(tmp_path / d), "instances/pasted") for d in "ab")
    # Images of val are absent altogether.
    assert list(one.info.splits) == ["train"]
    assert one.metadata["sentences"] == two.metadata["sentences"]
    ids = one.metadata["image_ids"]["train"]
    assert len(ids) == 12 and ids[0] == "scene_000000"
    record = one.records("train")[0]
    assert record["image"][:2] == b"\xff\xd8"


def test_a_partial_source_has_no_photograph_to_paste_into(root, tmp_path):
    given = ("scenes=3", "partial=.")
    with pytest.raises(ValueError, match="Check --option partial"):
        prepare.prepare("instances/x", str(tmp_path / "d"), str(root), given=given)
