"""Builds `gref`, `unc` and `unc_plus` from small and from damaged files."""

import json
import pathlib
import pickle
import shutil

import pytest
import tensorflow_datasets as tfds
from built_objects import objects_of
from PIL import Image

from restr_jax.data import splits
from tfds_builders import prepare

EXPECTED = json.loads(
    (pathlib.Path(__file__).parent.parent / "testdata/expected_refer.json").read_text()
)
IMAGES = "images/mscoco/images/train2014"


@pytest.fixture(scope="module")
def data_dir(gref_dir, testdata):
    """Returns `gref_dir` with the other sets of the distribution added."""
    for name in EXPECTED:
        prepare.prepare(name, gref_dir, str(testdata / "refer"))
    return gref_dir


@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name in EXPECTED for split in EXPECTED[name]]
)
def test_counts_areas_and_boxes_match_independent_measurements(data_dir, name, split):
    expected = EXPECTED[name][split]
    opened = splits.open_split(data_dir, name, split)
    assert len(opened.source) == expected["images"]
    built = {o["ref_id"]: o for record in opened.source for o in objects_of(record)}
    assert built == {wanted["ref_id"]: wanted for wanted in expected["objects"]}
    assert len(built) == expected["refs"]
    assert sum(map(len, opened.sentences)) == expected["expressions"]


def test_images_are_stored_as_they_were(data_dir, testdata):
    files = {f.read_bytes() for f in (testdata / "refer").rglob("*.jpg")}
    for name in EXPECTED:
        for record in splits.open_split(data_dir, name, "train").source:
            assert record["image"] in files


def test_a_record_has_the_documented_fields(data_dir):
    features = tfds.builder_from_directory(f"{data_dir}/unc/1.0.0").info.features
    assert {key: set(getattr(f, "feature", ())) for key, f in features.items()} == {
        "image": set(),
        "image_id": set(),
        "objects": {"object_id", "ref_id", "category", "mask"},
        "expressions": {"object", "sent_id", "sent", "raw", "kind"},
    }


def test_a_record_keeps_the_names_of_the_source(data_dir):
    record = splits.open_split(data_dir, "gref/google", "train").source[0]
    assert record["image_id"] == b"600001"
    assert list(record["objects"]["category"]) == [b"coffee cup"]
    assert list(record["expressions"]["sent_id"]) == [b"302"]
    assert list(record["expressions"]["raw"]) == [b"cup on saucer"]
    assert list(record["expressions"]["kind"]) == [b""]


@pytest.mark.parametrize("split", ["train", "val", "testA", "testB"])
def test_metadata_follow_the_order_of_the_records(data_dir, split):
    opened = splits.open_split(data_dir, "unc", split)
    stored = [[s.decode() for s in r["expressions"]["sent"]] for r in opened.source]
    assert opened.sentences == stored
    names = [f"mscoco/{r['image_id'].decode()}" for r in opened.source]
    assert opened.images == names
    info = tfds.builder_from_directory(f"{data_dir}/unc/1.0.0").info
    counts = [len(record["objects"]["mask"]) for record in opened.source]
    assert info.metadata["num_objects"][split] == counts
    assert info.metadata["skipped"] == []


# Damaged files.


@pytest.fixture
def manual(testdata, tmp_path):
    """Returns a copy of the files that tests may damage."""
    return pathlib.Path(shutil.copytree(testdata / "refer", tmp_path / "manual"))


def edit_refs(manual, change):
    path = manual / "refcocog" / "refs(google).p"
    refs = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(refs) or refs, protocol=2))


def edit_instances(manual, change):
    path = manual / "refcocog" / "instances.json"
    instances = json.loads(path.read_text())
    change(instances)
    path.write_text(json.dumps(instances))


def build(manual, **options):
    data_dir = str(manual.parent / "data")
    prepare.prepare("gref/google", data_dir, str(manual), **options)
    return data_dir


def refused(manual, *parts):
    """Asserts that the build fails with all parts in its message and leaves nothing."""
    with pytest.raises(ValueError) as raised:
        build(manual)
    for part in parts:
        assert part in str(raised.value)
    with pytest.raises(FileNotFoundError, match="There is no data set"):
        splits.open_split(str(manual.parent / "data"), "gref/google", "train")
    return str(raised.value)


def test_the_umd_partition_has_a_test_split(manual):
    umd = manual / "refcocog" / "refs(umd).p"
    (manual / "refcocog" / "refs(google).p").rename(umd)
    refs = pickle.loads(umd.read_bytes())
    refs[1]["split"] = "test"
    umd.write_bytes(pickle.dumps(refs))
    prepare.prepare("gref/umd", str(manual.parent / "data"), str(manual))
    opened = splits.open_split(str(manual.parent / "data"), "gref/umd", "test")
    assert len(opened.source) == 1 and opened.name == "gref/umd:test"


def test_a_record_has_all_expressions_of_its_image(manual):
    def crowd(refs):
        refs[2]["split"] = "train"  # a second object in the model's image
        refs[2]["sentences"].append({"sent_id": 5, "sent": "woman", "raw": "Woman!"})

    edit_refs(manual, crowd)
    split = splits.open_split(build(manual), "gref/google", "train")
    assert list(map(len, split.sentences)) == [1, 3]
    model = split.source[1]
    assert list(model["objects"]["object_id"]) == [b"99000011", b"99000013"]
    assert list(model["expressions"]["object"]) == [0, 1, 1]
    assert model["expressions"]["raw"][2] == b"Woman!"


def test_a_missing_annotation_file_is_named(manual):
    for path in (manual / "refcocog").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="2 files are missing") as raised:
        build(manual)
    for part in ("refs(google).p", "instances.json", "README.md"):
        assert part in str(raised.value)


def test_all_early_problems_are_reported_at_once(manual):
    def spoil_refs(refs):
        refs[0]["sentences"][0]["sent"] = " . "
        refs[1]["ann_id"] = 5

    edit_refs(manual, spoil_refs)
    (manual / IMAGES / "COCO_train2014_000000600003.jpg").unlink()
    message = refused(
        manual,
        "3 problems",
        "object 99000011, sentence 0: the expression is empty",
        "ref 990002, object 5: object 5 has no entry in instances.json",
        "000000600003.jpg: the image is missing",
        "--skip_bad",
    )
    assert message.count("\n") == 4


def test_skip_bad_builds_the_rest_and_lists_the_problems(manual):
    edit_refs(manual, lambda refs: refs[0]["sentences"][0].update(sent=""))
    image = manual / IMAGES / "COCO_train2014_000000600002.jpg"
    image.write_bytes(image.read_bytes()[:5000])
    data_dir = build(manual, skip_bad=True)
    train = splits.open_split(data_dir, "gref/google", "train")
    assert train.sentences == [["cup on saucer"]]
    val = splits.open_split(data_dir, "gref/google", "val")
    assert val.images == ["mscoco/600003"]
    info = tfds.builder_from_directory(f"{data_dir}/gref/google/1.0.0").info
    skipped = info.metadata["skipped"]
    assert len(skipped) == 2
    assert "990001, object 99000011, sentence 0: the expression is empty" in skipped[0]
    assert "000000600002.jpg: it is truncated" in skipped[1]


def test_skip_bad_refuses_an_empty_split(manual):
    edit_refs(manual, lambda refs: [r["sentences"].clear() for r in refs[:2]] and None)
    with pytest.raises(ValueError, match="train: no image of this split can be used"):
        build(manual, skip_bad=True)


def test_damage_found_on_opening_is_reported_at_once_too(manual):
    # One image of each split; the first split is written before the second is read.
    for name in ("000000600001", "000000600002"):
        image = manual / IMAGES / f"COCO_train2014_{name}.jpg"
        image.write_bytes(image.read_bytes()[:5000])
    named = (f"{name}.jpg: it is truncated" for name in ("600001", "600002"))
    refused(manual, "2 problems", *named)


def test_an_image_of_another_size_is_named(manual):
    image = manual / IMAGES / "COCO_train2014_000000600001.jpg"
    Image.new("RGB", (64, 48)).save(image)
    refused(manual, "600001.jpg: it is 48 x 64 pixels, but its annotations say 197")


def test_an_empty_image_file_is_named(manual):
    (manual / IMAGES / "COCO_train2014_000000600001.jpg").write_bytes(b"")
    refused(manual, "600001.jpg: the file has no bytes")


def test_a_file_of_another_partition_is_refused(manual):
    edit_refs(manual, lambda refs: refs[0].update(split="testA"))
    refused(manual, "they belong to another partition")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda refs: refs[1].update(ann_id=99000005), "it is on image 600002, not on"),
        (lambda refs: refs[1].update(image_id=4), "image 4 has no entry in instances"),
        (lambda refs: refs[1].update(ref_id=990003), "2 entries have this id"),
        (
            lambda refs: refs[1]["sentences"].clear(),
            "object 99000012: it has no sentence",
        ),
        *(
            (lambda refs, f=field: refs[1]["sentences"][0].pop(f), f"it lacks {field}")
            for field in ("sent_id", "sent", "raw")
        ),
    ],
)
def test_a_bad_ref_is_named(manual, change, message):
    edit_refs(manual, lambda refs: change(refs) and None)
    refused(manual, message, "99000")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("annotations", {"segmentation": [[-9, -9, -5, -9, -5, -5]]}, "has no pixel"),
        ("annotations", {"segmentation": [[1, 1, 5, 5]]}, "2 points, fewer than 3"),
        (
            "annotations",
            {"segmentation": {"size": [10, 10], "counts": [0, 100]}},
            "the mask is [10, 10] pixels",
        ),
        ("annotations", {"segmentation": None}, "the segmentation cannot be read"),
        ("annotations", {"id": 99000013}, "id 99000013: 2 entries have this id"),
        ("images", {"id": 600003}, "id 600003: 2 entries have this id"),
        ("images", {"file_name": "../a.jpg"}, "'../a.jpg' leads out of the manual"),
    ],
)
def test_a_bad_instance_is_named(manual, part, change, message):
    wanted = {"annotations": 99000012, "images": 600001}[part]

    def spoil(instances):
        (entry,) = (e for e in instances[part] if e["id"] == wanted)
        entry.update(change)

    edit_instances(manual, spoil)
    refused(manual, message)


@pytest.mark.parametrize(
    ("part", "field"),
    [("annotations", "segmentation"), ("images", "file_name"), ("images", "height")],
)
def test_an_instance_that_lacks_a_field_is_named(manual, part, field):
    edit_instances(manual, lambda instances: instances[part][0].pop(field))
    refused(manual, f"instances.json: it lacks {field}")


def test_windows_paths_of_images_are_found(manual):
    name = "COCO_train2014_000000600001.jpg"
    (manual / IMAGES / "part").mkdir()
    (manual / IMAGES / name).rename(manual / IMAGES / "part" / name)

    def respell(instances):
        (entry,) = (e for e in instances["images"] if e["id"] == 600001)
        entry["file_name"] = f"part\\{name}"

    edit_instances(manual, respell)
    data_dir = build(manual)
    assert "mscoco/600001" in {
        image
        for split in ("train", "val")
        for image in splits.open_split(data_dir, "gref/google", split).images
    }
