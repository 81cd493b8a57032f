"""Data cards, leakage and checks of built data sets."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from tfds_builders import prepare, published
from tfds_builders.inspection import check, data_card, leakage
from tfds_builders.storage.built import Built

ROOT = pathlib.Path(prepare.__file__).parent.parent


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, testdata):
    folder = str(tmp_path_factory.mktemp("built"))
    for name in ("unc", "gref/google"):
        prepare.prepare(name, folder, str(testdata / "refer"))
    prepare.prepare("referit", folder, str(testdata / "referit"))
    return folder


def test_differences_from_published_counts_are_reported():
    counts = {"train": {"images": 24_698, "objects": 44_822, "expressions": 85_475}}
    assert published.differences("gref/google", counts) == [
        "there is no split val",
        "train has 85,475 expressions, but 85,474 are published",
    ]
    known = published.COUNTS["unc"]
    columns = ("images", "objects", "expressions")
    whole = {s: dict(zip(columns, known[s], strict=True)) for s in known}
    assert published.differences("unc", whole) == []
    whole["testC"] = whole["testA"]
    assert published.differences("unc", whole) == ["split testC is not published"]
    assert published.differences("custom", whole) == []


@pytest.mark.parametrize(
    ("dataset", "images", "objects", "expressions"),
    [
        # Totals published elsewhere: the `refer` notebook, TFDS, text_objseg.
        ("unc", 19_994, 50_000, 142_210),
        ("unc_plus", 19_992, 49_856, None),
        ("gref/google", None, 49_822, None),
        ("gref/umd", None, 49_822, 95_010),
    ],
)
def test_published_counts_add_up(dataset, images, objects, expressions):
    of_splits = published.COUNTS[dataset].values()
    sums = [sum(column) for column in zip(*of_splits, strict=True)]
    for total, stated in zip(sums, (images, objects, expressions), strict=True):
        assert stated in (None, total)


def test_trainval_of_referit_is_train_and_val():
    known = published.COUNTS["referit/text_objseg"]
    both = tuple(a + b for a, b in zip(known["train"], known["val"], strict=True))
    assert known["trainval"] == both


def test_a_card_has_the_right_counts(data_dir):
    card = data_card.describe(Built(data_dir, "unc"))
    train = card["splits"]["train"]
    # shirt with white collar; white stuff around black tie; cloth below her chin; very
    # dark jaket; half at bottom; bottom
    assert train["words"]["histogram"] == {"1": 1, "3": 2, "4": 2, "5": 1}
    assert train["words"]["mean"] == 20 / 6 and train["words"]["longest"] == 5
    assert [b["count"] for b in train["words"]["buckets"]] == [1, 2, 3, 0]
    assert train["objects_per_image"] == {"2": 1}
    assert train["expressions_per_object"] == {"3": 2}
    # 1,990 and 29,527 of 273 x 320 pixels: 2.3 % and 33.8 %.
    areas = dict(zip(train["mask_area_edges"][1:], train["mask_area"], strict=True))
    assert {f"{edge:.3f}": n for edge, n in areas.items() if n} == {
        "0.046": 1,
        "0.464": 1,
    }
    assert card["vocabulary"]["split"] == "train"
    assert card["vocabulary"]["words"] == 20
    assert card["vocabulary"]["most_frequent"]["white"] == 2
    unknown = card["vocabulary"]["unknown"]
    # flag with stars; behind her at left; pole with stripes
    assert unknown["val"]["words"] == 10 and unknown["val"]["unknown"] == 6
    assert len(card["differences"]) == 12


def test_leakage_finds_the_images_that_train_and_val_share(data_dir):
    opened = [Built(data_dir, n) for n in ("unc", "gref/google", "referit/text_objseg")]
    rows = {(r["train"], r["scored"]): r for r in leakage.find(opened)}
    assert rows["gref/google:train", "gref/google:val"] == {
        "train": "gref/google:train",
        "scored": "gref/google:val",
        "images": 1,
        "fraction": 0.5,
        "expressions": 0,
    }
    assert ("unc:train", "gref/google:val") in rows
    assert ("gref/google:train", "unc:val") not in rows
    # ReferIt's 91001 is in train and val; trainval contains val by definition.
    of_referit = "referit/text_objseg"
    assert (f"{of_referit}:train", f"{of_referit}:val") in rows
    assert (f"{of_referit}:trainval", f"{of_referit}:val") not in rows


def test_the_command_writes_cards_and_plots(data_dir, run):
    result = run("unc", "gref/google", f"--data_dir={data_dir}", "--report")
    assert result.returncode == 0, result.stderr
    folder = pathlib.Path(data_dir)
    text = (folder / "unc" / "report" / "card.md").read_text()
    for part in ("| train | 1 | 2 | 6 | 3.33 |", "but 16,994 are published", "142,209"):
        assert part in text
    for name in ("lengths", "objects", "areas"):
        plot = (folder / "unc" / "report" / f"{name}.png").read_bytes()
        assert plot.startswith(b"\x89PNG") and len(plot) > 5000
    shared = json.loads((folder / "leakage.json").read_text())
    assert "gref/google:train" in {row["train"] for row in shared}
    assert "50.0%" in (folder / "leakage.md").read_text()


@pytest.fixture
def spoiled(data_dir, tmp_path):
    """Returns a copy of the built sets to damage, and the files of unc's testA."""
    shutil.copytree(data_dir, tmp_path / "data")
    folder = tmp_path / "data" / "unc" / "1.0.0"
    (records,) = folder.glob("*testA.array_record*")
    return tmp_path / "data", records


def test_intact_sets_pass(data_dir, shapes_dir):
    # Some objects of this set have no expression.
    assert list(check.check(Built(shapes_dir, "shapes"))) == []
    for name in ("unc", "gref/google", "referit/text_objseg"):
        assert list(check.check(Built(data_dir, name))) == []
    command = [sys.executable, "-m", "tfds_builders.prepare", "unc", "--check"]
    result = subprocess.run(
        [*command, f"--data_dir={data_dir}"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0 and "unc: 4 records, 0 faults" in result.stdout


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_record_file_is_named(spoiled, damage, run):
    data, records = spoiled
    content = bytearray(records.read_bytes())
    if damage == "remove":
        records.unlink()
    elif damage == "truncate":
        records.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        records.write_bytes(content)
    result = run("unc", f"--data_dir={data}", "--check")
    assert result.returncode == 1
    assert "unc, testA" in result.stderr and "build them again" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("sentences", [["lenses"]], "its sentences differ"),
        ("image_ids", ["7"], "its image_id is 600002"),
        ("num_objects", [3], "objects, but 3 in the metadata"),
        ("image_ids", [], "1 records, 0 listed"),
    ],
)
def test_metadata_that_belong_to_other_records_are_named(spoiled, key, change, message):
    data, records = spoiled
    path = records.parent / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata[key]["testA"] = change
    path.write_text(json.dumps(metadata))
    (fault,) = check.check(Built(str(data), "unc"))
    assert fault.startswith("testA") and message in fault


def test_a_set_that_is_not_built_is_named(data_dir, run):
    for option in ("--check", "--report"):
        result = run("unc_plus", f"--data_dir={data_dir}", option)
        assert result.returncode == 1
        assert "There is no data set 'unc_plus'" in result.stderr
