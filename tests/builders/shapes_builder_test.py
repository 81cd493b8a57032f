import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from restr_jax.data import preprocess, splits
from tfds_builders import prepare
from tfds_builders.shapes import scenes
from tfds_builders.shapes.shapes_dataset_builder import Builder


def read(data_dir, split):
    split = splits.open_split(data_dir, "shapes", split)
    return [split.source[i] for i in range(len(split.source))]


def test_a_record_has_the_documented_fields(shapes_dir):
    builder = tfds.builder_from_directory(f"{shapes_dir}/shapes/1.0.0")
    assert set(builder.info.features) == {
        "image",
        "image_id",
        "objects",
        "expressions",
    }
    objects, expressions = (
        builder.info.features[k] for k in ("objects", "expressions")
    )
    assert set(objects.feature) == {"object_id", "ref_id", "category", "mask"}
    assert set(expressions.feature) == {"object", "sent_id", "sent", "raw", "kind"}
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 40, "val": 8, "test": 8}


def test_a_record_describes_the_drawn_objects(shapes_dir):
    for record in read(shapes_dir, "val"):
        image = np.asarray(Image.open(io.BytesIO(record["image"])))
        assert image.shape == (Builder.SIDE, Builder.SIDE, 3)
        objects = record["objects"]
        assert len(objects["mask"]) == len(set(objects["object_id"])) >= 3
        for category, counts in zip(objects["category"], objects["mask"], strict=True):
            size, color, shape = category.decode().split()
            assert size in scenes.SIZES and shape in scenes.SHAPES
            mask = preprocess.decode_mask(counts, image.shape[:2])
            seen = np.median(image[mask], axis=0)
            off = {c: np.abs(seen - rgb).sum() for c, rgb in scenes.COLORS.items()}
            assert min(off, key=off.get) == color
        targets = record["expressions"]["object"]
        assert len(targets) == Builder.EXPRESSIONS
        assert set(targets) <= set(range(len(objects["mask"])))


def test_metadata_list_the_sentences_in_the_order_of_the_records(shapes_dir):
    for name in ("train", "val", "test"):
        split = splits.open_split(shapes_dir, "shapes", name)
        stored = [
            [s.decode() for s in split.source[i]["expressions"]["sent"]]
            for i in range(len(split.source))
        ]
        assert stored == split.sentences


def test_a_larger_set_begins_with_the_same_scenes(shapes_dir, tmp_path, monkeypatch):
    # A scene depends only on its split and number, so scores on a small build hold for
    # the same scenes of a large one.
    monkeypatch.setattr(Builder, "SCENES", {"train": 3, "val": 1, "test": 1})
    prepare.prepare("shapes", str(tmp_path))
    some, all_of_them = read(str(tmp_path), "train"), read(shapes_dir, "train")
    for few, many in zip(some, all_of_them[:3], strict=True):
        assert few["image"] == many["image"]
        assert list(few["expressions"]["sent"]) == list(many["expressions"]["sent"])
        assert list(few["objects"]["mask"]) == list(many["objects"]["mask"])
