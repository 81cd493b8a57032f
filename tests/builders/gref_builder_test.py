"""What a record of `gref` holds, and that a failed build leaves nothing behind."""

import json
import pickle
import shutil

import pytest
import tensorflow_datasets as tfds

from restr_jax.data import splits
from tfds_builders import prepare

REFS = "refcocog/refs(google).p"
INSTANCES = "refcocog/instances.json"


@pytest.fixture
def downloads(testdata, tmp_path):
    """A copy of the sample, to be damaged."""
    return shutil.copytree(testdata / "gref", tmp_path / "downloads")


def change_refs(downloads, change):
    refs = pickle.loads((downloads / REFS).read_bytes())
    change(refs)
    (downloads / REFS).write_bytes(pickle.dumps(refs, protocol=2))


def change_instances(downloads, change):
    instances = json.loads((downloads / INSTANCES).read_text())
    change(instances)
    (downloads / INSTANCES).write_text(json.dumps(instances))


def assert_refused(downloads, *parts):
    """The build fails with a message that has every part, and leaves nothing."""
    data_dir = str(downloads.parent / "data")
    with pytest.raises(ValueError) as raised:
        prepare.prepare("gref", data_dir, str(downloads))
    for part in parts:
        assert part in str(raised.value)
    with pytest.raises(FileNotFoundError, match="There is no data set"):
        splits.open_split(data_dir, "gref/google", "train")


def test_a_record_has_the_documented_fields(gref_dir):
    features = tfds.builder_from_directory(f"{gref_dir}/gref/1.0.0").info.features
    assert set(features) == {"image", "image_id", "objects", "expressions"}
    assert set(features["objects"].feature) == {
        "object_id",
        "ref_id",
        "category",
        "mask",
    }
    assert set(features["expressions"].feature) == {
        "object",
        "sent_id",
        "sent",
        "raw",
        "kind",
    }


def test_a_record_carries_the_sources_own_names(gref_dir):
    record = splits.open_split(gref_dir, "gref/google", "train").source[0]
    assert record["image_id"] == b"52461"
    assert list(record["objects"]["category"]) == [b"parking meter"]
    assert list(record["expressions"]["sent_id"]) == [b"2240"]
    assert list(record["expressions"]["raw"]) == [b"meter on right"]
    assert list(record["expressions"]["kind"]) == [b""]


@pytest.mark.parametrize("split", ["train", "val"])
def test_metadata_list_the_sentences_in_the_order_of_the_records(gref_dir, split):
    opened = splits.open_split(gref_dir, "gref/google", split)
    stored = [
        [sentence.decode() for sentence in opened.source[i]["expressions"]["sent"]]
        for i in range(len(opened.source))
    ]
    assert opened.sentences == stored and len(stored) == 2


def test_all_sentences_and_objects_of_an_image_share_its_record(downloads):
    def crowd(refs):
        refs[2]["split"] = "train"  # a second object of the pizza's image
        refs[2]["sentences"].append({"sent_id": 5, "sent": "table", "raw": "Table!"})

    change_refs(downloads, crowd)
    data_dir = str(downloads.parent / "data")
    prepare.prepare("gref", data_dir, str(downloads))
    split = splits.open_split(data_dir, "gref/google", "train")
    assert list(map(len, split.sentences)) == [1, 3]
    pizza = split.source[1]
    assert list(pizza["objects"]["object_id"]) == [b"1072693", b"413852"]
    assert list(pizza["expressions"]["object"]) == [0, 1, 1]
    assert pizza["expressions"]["raw"][2] == b"Table!"


def test_an_error_in_the_last_split_leaves_nothing_built(downloads):
    # train is written by then; half a data set must not pass for a whole one.
    change_refs(downloads, lambda refs: refs[3]["sentences"][0].update(sent=" "))
    parts = ("Image 266240 of split 'val' has an empty expression", "remove it")
    assert_refused(downloads, *parts)


def test_an_object_without_a_pixel_is_named(downloads):
    def empty(instances):
        (annotation,) = (a for a in instances["annotations"] if a["id"] == 418266)
        annotation["segmentation"] = [[-9, -9, -5, -9, -5, -5]]  # beside the image

    change_instances(downloads, empty)
    assert_refused(downloads, "ref 990002, object 418266", "the mask has no pixel")


def test_an_object_of_another_image_than_its_refs_is_named(downloads):
    # The object would be drawn on a picture that it is not in.
    change_refs(downloads, lambda refs: refs[1].update(ann_id=1084505))
    assert_refused(downloads, "ref 990002", "1084505")


@pytest.mark.parametrize("field", ["raw", "sent", "sent_id"])
def test_a_sentence_that_lacks_a_field_is_named(downloads, field):
    change_refs(downloads, lambda refs: refs[1]["sentences"][0].pop(field))
    assert_refused(downloads, field)


@pytest.mark.parametrize(
    ("part", "field"),
    [("annotations", "segmentation"), ("images", "file_name"), ("images", "height")],
)
def test_an_entry_that_lacks_a_field_is_named(downloads, part, field):
    change_instances(downloads, lambda instances: instances[part][1].pop(field))
    assert_refused(downloads, field)
