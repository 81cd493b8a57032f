"""Builds the three forms of `referit` from a small sample and damaged files."""

import hashlib
import json
import pathlib
import pickle
import re
import shutil

import numpy as np
import pytest
import scipy.io
from built_objects import masks_of, objects_of
from PIL import Image

from restr_jax.data import splits
from tfds_builders import prepare

ROOT = pathlib.Path(__file__).parent.parent.parent
TESTDATA = ROOT / "tests" / "testdata"
EXPECTED = json.loads((TESTDATA / "expected_referit.json").read_text())
PACKAGE = ROOT / "tfds_builders" / "referit"


def lay_out(folder):
    """Copies the sample, and its images to their folders in the refer distribution."""
    shutil.copytree(TESTDATA / "referit", folder)
    for image in sorted((folder / "referit/images").glob("*.jpg")):
        place = folder / "images/saiapr_tc-12" / image.stem[:2] / "images"
        place.mkdir(parents=True)
        shutil.copy(image, place)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("referit")
    manual = lay_out(folder / "manual")
    for form in EXPECTED:
        prepare.prepare(f"referit/{form}", str(folder / "data"), str(manual))
    return str(folder / "data")


@pytest.fixture
def manual(tmp_path):
    """Returns a copy of the files that tests may damage."""
    return lay_out(tmp_path / "manual")


def builder_of(form, manual):
    return prepare.make_builder(f"referit/{form}", str(manual.parent / "data"))


def problems_of(form, manual):
    _, problems = builder_of(form, manual).check(manual)
    return problems.lines


@pytest.mark.parametrize(
    ("form", "split"), [(form, split) for form in EXPECTED for split in EXPECTED[form]]
)
def test_counts_areas_and_boxes_match_independent_measurements(data_dir, form, split):
    expected = EXPECTED[form][split]
    opened = splits.open_split(data_dir, f"referit/{form}", split)
    assert len(opened.source) == expected["images"]
    built = {o["ref_id"]: o for record in opened.source for o in objects_of(record)}
    assert built == {wanted["ref_id"]: wanted for wanted in expected["objects"]}
    assert len(built) == expected["refs"]
    assert sum(map(len, opened.sentences)) == expected["expressions"]


@pytest.mark.parametrize("form", EXPECTED)
def test_a_form_has_its_splits_and_no_other(data_dir, form):
    names = list(splits.DataSet(data_dir, f"referit/{form}").splits)
    assert sorted(names) == sorted(EXPECTED[form])


def test_text_objseg_is_the_default_form(manual):
    builder = prepare.make_builder("referit", str(manual.parent))
    assert builder.builder_config.name == "text_objseg"


def test_a_mask_whose_background_is_1_is_read_as_one_whose_background_is_minus_1(
    data_dir,
):
    content = scipy.io.loadmat(TESTDATA / "referit/referit/mask/91001_2.mat")
    assert content["segimg_t"].dtype == np.uint8
    assert np.unique(content["segimg_t"]).tolist() == [0, 1]
    (record,) = splits.open_split(data_dir, "referit/text_objseg", "val").source
    (of_refclef,) = splits.open_split(data_dir, "referit/berkeley", "val").source
    mask, others = masks_of(record)["91001_2"], masks_of(of_refclef)["91001_2"]
    assert mask.sum() == 1014
    np.testing.assert_array_equal(mask, others)
    np.testing.assert_array_equal(mask, content["segimg_t"] == 0)


def test_all_forms_give_an_image_the_same_name(data_dir):
    names = {
        form: {
            image
            for split in EXPECTED[form]
            for image in splits.open_split(data_dir, f"referit/{form}", split).images
        }
        for form in EXPECTED
    }
    assert names == dict.fromkeys(EXPECTED, {"saiapr/91001", "saiapr/92002"})


def test_a_ref_of_two_splits_is_in_both(data_dir):
    pairs = [
        [
            o["ref_id"]
            for record in splits.open_split(data_dir, "referit/unc", split).source
            for o in objects_of(record)
        ]
        for split in ("testB", "testC")
    ]
    assert "993003" in pairs[0] and "993003" in pairs[1]


def test_a_record_of_text_objseg_has_its_own_names(data_dir):
    (record,) = splits.open_split(data_dir, "referit/text_objseg", "test").source
    assert record["image_id"] == b"92002"
    regions = [b"92002_1", b"92002_2", b"92002_3", b"92002_4"]
    assert list(record["objects"]["object_id"]) == regions
    assert list(record["objects"]["ref_id"]) == regions
    assert list(record["objects"]["category"]) == [b""] * 4
    assert list(record["expressions"]["sent_id"]) == [r + b"_0" for r in regions]
    # The text is kept unchanged; cleaning is left to the tokenisers.
    sentences = list(record["expressions"]["sent"])
    assert sentences[:2] == [b"-cat", b"Blur behind the cat"]


def test_a_record_of_refclef_has_its_own_names(data_dir):
    (record,) = splits.open_split(data_dir, "referit/berkeley", "test").source
    assert record["objects"]["category"][1] == b"background"
    assert record["objects"]["ref_id"][1] == b"993011"
    assert record["expressions"]["sent_id"][1] == b"9920012"
    assert record["expressions"]["sent"][0] == b"cat"
    assert record["expressions"]["raw"][0] == b"-cat"


@pytest.mark.parametrize("form", EXPECTED)
def test_images_are_stored_as_they_were(data_dir, form):
    files = {f.read_bytes() for f in (TESTDATA / "referit").rglob("*.jpg")}
    for split in EXPECTED[form]:
        for record in splits.open_split(data_dir, f"referit/{form}", split).source:
            assert record["image"] in files


# Damaged files.


@pytest.mark.parametrize(
    ("form", "folder", "count"),
    [("text_objseg", "referit", 9), ("berkeley", "refclef", 2), ("unc", "refclef", 2)],
)
def test_a_form_needs_only_its_own_files(manual, form, folder, count):
    other = {"referit": "refclef", "refclef": "referit"}[folder]
    shutil.rmtree(manual / other)
    assert problems_of(form, manual) == []
    builder = builder_of(form, manual)
    for name in builder.files():
        (manual / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{count} files are missing") as raised:
        builder.check(manual)
    assert all(str(manual / name) in str(raised.value) for name in builder.files())


def test_a_missing_mask_of_two_splits_is_named_once(manual):
    mask = manual / "referit/mask/91001_3.mat"
    mask.unlink()
    assert problems_of("text_objseg", manual) == [f"{mask}: the mask is missing"]


def test_a_folder_without_masks_is_one_problem(manual):
    shutil.rmtree(manual / "referit/mask")
    with pytest.raises(FileNotFoundError, match=r"mask/\*\.mat") as raised:
        problems_of("text_objseg", manual)
    assert "README.md" in str(raised.value)


def test_a_missing_image_is_named_once(manual):
    image = manual / "referit/images/91001.jpg"
    image.unlink()
    assert problems_of("text_objseg", manual) == [f"{image}: the image is missing"]


def test_an_image_of_another_size_is_named(manual):
    image = manual / "referit/images/92002.jpg"
    Image.new("RGB", (213, 320)).save(image)
    (line,) = problems_of("text_objseg", manual)
    assert (
        "92002.jpg: it is 320 x 213 pixels, but its annotations say 213 x 320" in line
    )


def spoil_mask(path, **content):
    scipy.io.savemat(path, content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "missing, damaged or not a mask"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "or not a mask"),
        (lambda path: spoil_mask(path, other=np.zeros((213, 320))), "no variable"),
        (
            lambda path: spoil_mask(path, segimg_t=np.zeros((320, 213))),
            r"the mask is \[320, 213\] pixels .* its image \[213, 320\]",
        ),
        (
            # 255 does not mark the object: it is neither 1 nor -1, and not 0 either.
            lambda path: spoil_mask(path, segimg_t=np.full((213, 320), 255, np.uint8)),
            "the mask has no pixel",
        ),
    ],
    ids=["empty", "truncated", "other variable", "turned", "no object"],
)
def test_an_invalid_mask_is_named(manual, spoil, message):
    spoil(manual / "referit/mask/92002_4.mat")
    with pytest.raises(ValueError, match=rf"92002_4\.mat.*{message}"):
        prepare.prepare("referit", str(manual.parent / "data"), str(manual))
    with pytest.raises(FileNotFoundError, match="There is no data set"):
        splits.open_split(str(manual.parent / "data"), "referit/text_objseg", "train")


def test_bad_entries_can_be_skipped_and_are_listed(manual):
    (manual / "referit/mask/92002_4.mat").unlink()
    query = manual / "referit/referit_query_val.json"
    query.write_text(query.read_text().replace("left corner", " "))
    found = problems_of("text_objseg", manual)
    assert len(found) == 2
    data = str(manual.parent / "data")
    prepare.prepare("referit", data, str(manual), skip_bad=True)
    (record,) = splits.open_split(data, "referit/text_objseg", "test").source
    assert list(masks_of(record)) == ["92002_1", "92002_2", "92002_3"]
    (record,) = splits.open_split(data, "referit/text_objseg", "val").source
    assert list(masks_of(record)) == ["91001_8"]
    assert builder_of("text_objseg", manual).info.metadata["skipped"] == found


def test_refs_of_the_other_partition_are_refused(manual):
    refclef = manual / "refclef"
    shutil.copy(refclef / "refs(unc).p", refclef / "refs(berkeley).p")
    with pytest.raises(ValueError, match="they belong to another partition"):
        problems_of("berkeley", manual)


def test_an_rle_of_another_image_is_named(manual):
    path = manual / "refclef/instances.json"
    instances = json.loads(path.read_text())
    instances["annotations"][0]["segmentation"][0]["size"] = [320, 213]
    path.write_text(json.dumps(instances))
    (line,) = problems_of("unc", manual)
    assert line.startswith("ref 993001, object 91001_1: the mask is [320, 213] pixels")


def test_a_ref_without_its_object_is_named(manual):
    path = manual / "refclef/refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    refs[0]["ann_id"] = "91001_77"
    path.write_bytes(pickle.dumps(refs, protocol=2))
    # testA loses its only ref and is empty; the build reports that.
    (line,) = problems_of("unc", manual)
    assert line.startswith("ref 993001, object 91001_77: object '91001_77' has no")


# Facts about the published files.


def test_the_readme_lists_the_published_files():
    listed = re.findall(
        r"^\| `(referit/\S+)` \| ([\d,]+) \| `(\w{64})` \|$",
        (PACKAGE / "README.md").read_text(),
        re.MULTILINE,
    )
    published = json.loads((PACKAGE / "published_files.json").read_text())
    assert {name: (size, sha) for name, size, sha in listed} == {
        name: (f"{file['bytes']:,}", file["sha256"]) for name, file in published.items()
    }


def test_every_file_that_text_objseg_needs_has_a_published_hash(manual):
    published = json.loads((PACKAGE / "published_files.json").read_text())
    assert set(published) == set(builder_of("text_objseg", manual).files())
    # The hashes must distinguish the sample from the published set.
    for name, file in published.items():
        content = (manual / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() != file["sha256"]
