"""Samples of the published sets: built like the test data, if they are present."""

import hashlib
import json
import pathlib

import numpy as np
import pytest
import scipy.io
from built_objects import masks_of, objects_of

from restr_jax.data import splits
from tfds_builders import prepare

TESTDATA = pathlib.Path(__file__).parent.parent / "testdata"
# Numbers and hashes; the sentences may not be copied.
EXPECTED = json.loads((TESTDATA / "expected_real.json").read_text())


@pytest.fixture(scope="module")
def mini(real_samples):
    return real_samples / "mini"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, mini):
    folder = str(tmp_path_factory.mktemp("real"))
    for name in EXPECTED:
        prepare.prepare(name, folder, str(mini))
    return folder


def hashed(built, raw):
    """Returns an object with a hash of its sentences in their place."""
    said = [*built["expressions"], *raw["expressions"]]
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
    return built | {"expressions": len(built["expressions"]), "sha256": digest}


@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name in EXPECTED for split in EXPECTED[name]]
)
def test_areas_boxes_and_sentences_match_independent_measurements(
    data_dir, name, split
):
    expected = EXPECTED[name][split]
    opened = splits.open_split(data_dir, name, split)
    assert len(opened.source) == len({o["image_id"] for o in expected})
    built = [
        hashed(one, raw)
        for record in opened.source
        for one, raw in zip(objects_of(record), objects_of(record, "raw"), strict=True)
    ]
    assert {o["ref_id"]: o for o in built} == {o["ref_id"]: o for o in expected}
    assert len(built) == len(expected)
    count = sum(o["expressions"] for o in expected)
    assert sum(map(len, opened.sentences)) == count


@pytest.mark.parametrize("name", EXPECTED)
def test_images_are_stored_as_they_were(data_dir, mini, name):
    files = {f.read_bytes() for f in mini.rglob("*.jpg")}
    for split in EXPECTED[name]:
        for record in splits.open_split(data_dir, name, split).source:
            assert record["image"] in files


def test_records_keep_the_names_of_the_source(data_dir):
    record = splits.open_split(data_dir, "gref/google", "train").source[0]
    assert record["image_id"] == b"52461"
    assert list(record["objects"]["category"]) == [b"parking meter"]
    assert list(record["expressions"]["sent_id"]) == [b"2240"]
    (record,) = splits.open_split(data_dir, "referit/text_objseg", "test").source
    regions = [b"38100_1", b"38100_2", b"38100_3", b"38100_4"]
    assert list(record["objects"]["object_id"]) == regions
    assert list(record["expressions"]["sent_id"]) == [r + b"_0" for r in regions]
    (record,) = splits.open_split(data_dir, "referit/berkeley", "test").source
    assert record["objects"]["category"][1] == b"sky"
    said = zip(record["expressions"]["raw"], record["expressions"]["sent"], strict=True)
    # The raw text has a hyphen, a capital letter and another hyphen.
    assert [raw == sent for raw, sent in said] == [False, False, False, True]


def test_a_mask_whose_background_is_1_is_read(data_dir, mini):
    content = scipy.io.loadmat(mini / "referit/mask/10002_2.mat")["segimg_t"]
    assert content.dtype == np.uint8 and np.unique(content).tolist() == [0, 1]
    (record,) = splits.open_split(data_dir, "referit/text_objseg", "val").source
    np.testing.assert_array_equal(masks_of(record)["10002_2"], content == 0)


def test_all_forms_of_referit_give_an_image_the_same_name(data_dir):
    for name in (n for n in EXPECTED if n.startswith("referit")):
        opened = [splits.open_split(data_dir, name, split) for split in EXPECTED[name]]
        found = {image for split in opened for image in split.images}
        assert found == {"saiapr/10002", "saiapr/38100"}
