import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from pycocotools import mask as mask_util

from configs import common
from configs import custom as custom_config
from restr_jax import train
from restr_jax.data import preprocess, splits
from restr_jax.data.loader import Loader
from restr_jax.data.masks import to_rle
from restr_jax.data.text import Vocabulary
from restr_jax.evaluation import stored
from tfds_builders import prepare
from tfds_builders.custom import custom_dataset_builder
from tfds_builders.storage.built import Built

README = pathlib.Path(custom_dataset_builder.__file__).parent / "README.md"
# Outline of the cup in photos/coffee.jpg, of 98 x 160 pixels.
POLYGONS = [
    [64, 0, 92, 0, 104, 8, 108, 21, 105, 38, 100, 52, 88, 64, 72, 66]
    + [60, 73, 53, 70, 54, 60, 48, 42, 46, 21, 52, 7]
]
SIZE = [98, 160]


@pytest.fixture
def manual(testdata, tmp_path):
    """Returns a copy of the sample that tests may damage."""
    return pathlib.Path(shutil.copytree(testdata / "custom", tmp_path / "manual"))


def build(manual, name="custom", **options):
    data_dir = str(manual.parent / "data")
    prepare.prepare(name, data_dir, str(manual), **options)
    return data_dir


def write_lines(path, lines):
    encoded = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines]
    path.write_bytes(b"\n".join(encoded))


def test_both_forms_are_built(manual, testdata):
    data_dir = build(manual)
    coffee, woman = (
        splits.open_split(data_dir, "custom", split) for split in ("train", "val")
    )
    assert coffee.images == ["custom/photos/coffee.jpg"]
    assert coffee.sentences == [
        ["cup in the middle", "The one with a handle.", "saucer under the cup"]
    ]
    assert woman.images == ["custom/photos/astronaut.jpg"]
    assert woman.sentences == [
        ["the rocket behind the woman", "smaller of the two things"]
    ]
    record = coffee.source[0]
    image = (testdata / "custom/photos/coffee.jpg").read_bytes()
    assert record["image"] == image
    assert list(record["objects"]["object_id"]) == [b"cup", b"train.jsonl:3"]
    assert list(record["objects"]["category"]) == [b"coffee cup", b""]
    assert list(record["expressions"]["object"]) == [0, 0, 1]
    drawn = np.asarray(Image.open(testdata / "custom/masks/saucer.png")) > 0
    stored = preprocess.decode_mask(record["objects"]["mask"][1], drawn.shape)
    np.testing.assert_array_equal(stored, drawn)
    (rocket,) = woman.source[0]["objects"]["mask"]
    # Left, top, width and height of the polygon in val.json.
    box = mask_util.toBbox({"size": [161, 120], "counts": rocket})
    np.testing.assert_allclose(box, [70, 0, 36, 89], atol=1)


def test_what_fits_nothing_is_trained_and_scored_on_an_empty_mask(manual):
    image = {"image": "photos/coffee.jpg", "mask": None}
    lines = [image | {"expression": words} for words in ("zebra", "a red car")]
    write_lines(manual / "test.jsonl", lines)
    with (manual / "train.jsonl").open("a") as file:
        file.write(json.dumps(lines[0]) + "\n")
    data_dir = build(manual)
    assert Built(data_dir, "custom").counts() == {
        "test": {"images": 1, "objects": 0, "expressions": 2, "fitting nothing": 2},
        "train": {"images": 1, "objects": 2, "expressions": 4, "fitting nothing": 1},
        "val": {"images": 1, "objects": 1, "expressions": 2},
    }
    split = splits.open_split(data_dir, "custom", "train")
    vocabulary = Vocabulary(["<pad>", "<unk>", "zebra", "cup"])
    loader = Loader(split, vocabulary, (32, 32), "stretch", 5, expressions=4)
    batch = loader.stack([loader.load(0, np.arange(4))])
    assert batch["valid"].tolist() == [[True] * 4]
    assert batch["mask"].any(axis=(2, 3)).tolist() == [[True, True, True, False]]
    # A split may have nothing else; its only scores would be those of empty masks.
    nothing = splits.open_split(data_dir, "custom", "test")
    assert list(nothing.source[0]["expressions"]["kind"]) == [b"nothing"] * 2
    mask = to_rle(np.zeros(SIZE, bool))
    empty = [{"sent_id": f"test.jsonl:{i}", "mask": mask} for i in (1, 2)]
    with pytest.raises(ValueError, match="only expressions that fit nothing"):
        stored.score(empty, nothing, (32, 32))


def test_every_form_of_a_mask_is_stored_alike(manual):
    rle = mask_util.frPyObjects(POLYGONS, *SIZE)[0]
    runs = np.flatnonzero(np.diff(mask_util.decode(rle).ravel(order="F"))) + 1
    lengths = np.diff([0, *runs, SIZE[0] * SIZE[1]]).tolist()
    mask = Image.fromarray(mask_util.decode(rle) * 255)
    mask.save(manual / "masks/cup.png")
    forms = {
        "polygons": POLYGONS,
        "runs": {"size": SIZE, "counts": lengths},
        "string": {"size": SIZE, "counts": rle["counts"].decode()},
        "file": "masks/cup.png",
    }
    line = {"image": "photos/coffee.jpg", "expression": "x"}
    for name, form in forms.items():
        write_lines(manual / f"{name}.jsonl", [line | {"mask": form}])
        if name == "file":
            continue
        entry = {"id": 1, "file_name": line["image"], "height": 98, "width": 160}
        thing = {"id": 1, "image_id": 1, "segmentation": form, "expressions": ["x"]}
        content = {"images": [entry], "annotations": [thing]}
        (manual / f"coco_{name}.json").write_text(json.dumps(content))
    data_dir = build(manual)
    names = [*forms, "coco_polygons", "coco_runs", "coco_string"]
    for name in names:
        (record,) = splits.open_split(data_dir, "custom", name).source
        assert list(record["objects"]["mask"]) == [rle["counts"]], name


def test_sets_of_different_names_are_kept_apart(manual):
    data_dir = build(manual)
    (manual / "val.json").unlink()
    build(manual, "custom/mine")
    shutil.copy(manual / "train.jsonl", manual / "few.jsonl")
    custom_dataset_builder.Builder(
        config=tfds.core.BuilderConfig(name="more", description="custom"),
        data_dir=data_dir,
        file_format="array_record",
    ).download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=manual, register_checksums=False
        )
    )
    assert list(splits.DataSet(data_dir, "custom").splits) == ["train", "val"]
    assert list(splits.DataSet(data_dir, "custom/mine").splits) == ["train"]
    assert list(splits.DataSet(data_dir, "custom/more").splits) == ["few", "train"]
    opened = splits.open_split(data_dir, "custom/mine", "train")
    assert opened.name == "custom/mine:train" and len(opened.source) == 1


def test_the_worked_example_matches_its_readme(testdata, tmp_path):
    (tmp_path / "mine").mkdir()
    for photograph in (testdata / "refer").rglob("*.jpg"):
        shutil.copy(photograph, tmp_path / "mine")
    text = README.read_text()
    train_lines, val_lines, coco = re.findall(r"```json\n(.*?)```", text, re.S)
    (tmp_path / "mine/train.jsonl").write_text(train_lines)
    (tmp_path / "mine/val.jsonl").write_text(val_lines)
    (tmp_path / "mine/coco.json").write_text(coco)
    data_dir = str(tmp_path / "data")
    printed = list(
        prepare.prepare_all(
            ["custom"],
            data_dir,
            str(tmp_path / "mine"),
            skip_bad=False,
            num_workers=None,
        )
    )
    for split in ("train", "val"):
        (line,) = (p for p in printed if p.startswith(f"  {split}: "))
        assert f"\n    {line}\n" in text
    (record,) = splits.open_split(data_dir, "custom", "coco").source
    assert list(record["objects"]["category"]) == [b"model rocket"]


# Each needs another file or entry; own_annotations_test.py has more cases.
GOOD = {"image": "photos/coffee.jpg", "expression": "good", "mask": POLYGONS}
FAULTS = [
    (b'{"image": "photos/coffee.jpg"', "it is not JSON"),
    ([1], "it is [1], expected {...}"),
    ({"image": "photos/coffee.jpg"}, "it lacks expression, mask"),
    (GOOD | {"expresion": "typo"}, "unknown field 'expresion'"),
    (b'{"image": "\xe9.jpg"}', "it is not UTF-8"),
    (GOOD | {"expression": " "}, "the expression is empty"),
    (GOOD | {"image": "absent.jpg"}, "absent.jpg: the image is missing"),
    (GOOD | {"image": "empty.jpg"}, "empty.jpg: the file has no bytes"),
    (GOOD | {"image": "../coffee.jpg"}, "leads out of the manual directory"),
    (GOOD | {"mask": "masks/absent.png"}, "masks/absent.png: it is missing"),
    (GOOD | {"mask": "empty.png"}, "empty.png: it is missing, damaged"),
    (GOOD | {"mask": "small.png"}, "small.png: the mask is [9, 9] pixels"),
    (GOOD | {"mask": "black.png"}, "black.png: the mask has no pixel"),
    (GOOD | {"mask": [[1, 1, 2, 2]]}, "a polygon has 2 points, fewer than 3"),
    (GOOD | {"mask": [[1, 1, 9e9, 2, 5, 5]]}, "a polygon lies far outside"),
    (
        GOOD | {"mask": {"size": [160, 98], "counts": [15680]}},
        "the mask is [160, 98] pixels",
    ),
]


@pytest.fixture
def faulty(manual):
    """Returns a set with a valid line around each fault, and a bad image in val."""
    for name in ("empty.jpg", "empty.png"):
        (manual / name).touch()
    Image.new("1", (9, 9), 1).save(manual / "small.png")
    Image.new("1", (160, 98)).save(manual / "black.png")
    lines = [line for fault, _ in FAULTS for line in (GOOD, fault)]
    write_lines(manual / "train.jsonl", [*lines, GOOD])
    whole = (manual / "photos/astronaut.jpg").read_bytes()
    (manual / "photos/cut.jpg").write_bytes(whole[:3000])
    content = json.loads((manual / "val.json").read_text())
    content["images"].append(content["images"][0] | {"id": 2})
    content["images"][1]["file_name"] = "photos/cut.jpg"
    first = content["annotations"][0]
    content["annotations"] += [
        first | {"id": 7, "image_id": 2},
        first | {"id": 8},
        first | {"id": 8},
        first | {"id": 9, "image_id": 99},
    ]
    (manual / "val.json").write_text(json.dumps(content))
    return manual


def test_all_faults_are_reported_at_once_and_nothing_is_built(faulty):
    with pytest.raises(ValueError, match=f"{len(FAULTS) + 2} problems") as raised:
        build(faulty)
    for number, (_, message) in enumerate(FAULTS, start=1):
        assert f"train.jsonl, line {2 * number}: " in str(raised.value)
        assert message in str(raised.value)
    assert "val.json, annotation 8: 2 entries have this id" in str(raised.value)
    assert "annotation 9: its image 99 has no entry in images" in str(raised.value)
    with pytest.raises(FileNotFoundError, match="There is no data set"):
        splits.open_split(str(faulty.parent / "data"), "custom", "train")


def test_skip_bad_skips_and_lists_exactly_the_faults(faulty):
    data_dir = build(faulty, skip_bad=True)
    opened = splits.open_split(data_dir, "custom", "train")
    assert opened.sentences == [["good"] * (len(FAULTS) + 1)]
    named = list(opened.source[0]["expressions"]["sent_id"])
    numbers = range(1, 2 * len(FAULTS) + 2, 2)
    assert named == [f"train.jsonl:{n}".encode() for n in numbers]
    val = splits.open_split(data_dir, "custom", "val")
    assert val.images == ["custom/photos/astronaut.jpg"]
    assert list(val.source[0]["objects"]["object_id"]) == [b"5"]
    info = tfds.builder_from_directory(f"{data_dir}/custom/1.0.0").info
    skipped = info.metadata["skipped"]
    expected = [
        *(
            (f"train.jsonl, line {2 * i}: ", message)
            for i, (_, message) in enumerate(FAULTS, start=1)
        ),
        ("val.json, annotation 8: ", "2 entries have this id"),
        ("val.json, annotation 9: ", "its image 99 has no entry in images"),
        # Found only when the image is decoded.
        ("photos/cut.jpg: ", "it is truncated"),
    ]
    assert len(skipped) == len(expected)
    for line, (where, message) in zip(skipped, expected, strict=True):
        assert where in line and message in line


def test_a_single_truncated_image_is_named(manual):
    image = manual / "photos/coffee.jpg"
    image.write_bytes(image.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"photos/coffee\.jpg: it is truncated"):
        build(manual)
    assert not list((manual.parent / "data").rglob("*.array_record*"))


def test_a_folder_of_another_kind_is_refused(manual):
    for path in ("train.jsonl", "val.json"):
        (manual / path).unlink()
    with pytest.raises(FileNotFoundError, match=f"{manual} has no annotations"):
        build(manual)
    with pytest.raises(FileNotFoundError, match="manual_dir has to be the folder"):
        build(manual / "absent")


@pytest.mark.parametrize("words", ["", "tiny"])
def test_the_config_sets_only_declared_keys(words):
    config = custom_config.get_config(words)
    declared = common.get_config()
    assert config.data.dataset == "custom"
    assert set(config.to_dict()) == set(declared.to_dict())
    for part in ("data", "optimizer", "eval", "model"):
        assert set(config[part]) == set(declared[part])
    assert config.model.vision.width == (128 if words == "tiny" else 768)


@pytest.mark.slow  # Takes half a minute.
def test_a_model_learns_the_expressions_of_a_custom_set(manual, tmp_path):
    config = custom_config.get_config("tiny")
    config.data.dataset = "custom/mine"
    config.data.data_dir = build(manual, "custom/mine")
    config.data.expressions_per_image = 3
    config.data.max_words = 8
    config.model.image_size, config.model.patch_size = (32, 32), 4
    config.model.vision.num_layers, config.model.fusion.num_layers = 1, 2
    for part in ("vision", "language", "fusion"):
        config.model[part].width = 32
        config.model[part].mlp_dim = 64
    config.optimizer.total_steps = 150
    config.optimizer.warmup_steps = 10
    config.optimizer.learning_rate = 3e-3
    config.eval.splits = "train"
    config.eval.num_figures = 0
    (row,) = train.train_and_evaluate(config, str(tmp_path / "run"))
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    losses = [m["loss"] for m in map(json.loads, lines) if "loss" in m]
    assert len(losses) == 3 and losses[2] < losses[0] / 3
    # A model that ignores the text finds both objects each time: about 0.5.
    assert row["num_expressions"] == 3 and row["oiou"] >= 0.7
    predictions = (tmp_path / "run/eval/predictions").glob("*.jsonl")
    said = [json.loads(line) for p in predictions for line in p.open()]
    assert {p["object_id"] for p in said} == {"cup", "train.jsonl:3"}
