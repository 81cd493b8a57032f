import json
import os
import pathlib
import pickle
import tracemalloc

import numpy as np
import pytest

from tfds_builders import masks
from tfds_builders.annotations import Problems
from tfds_builders.refer import annotations, joined, plain_pickle

REF = {
    "ref_id": 7,
    "ann_id": 8,
    "image_id": 9,
    "split": "val",
    "sentences": [{"sent_id": 5, "sent": "a cat", "raw": "A cat"}],
}


def read(content, tmp_path):
    """Returns the refs and problems of a file with these bytes or this list."""
    path = tmp_path / "refs.p"
    if not isinstance(content, bytes):
        content = pickle.dumps(content, protocol=2)
    path.write_bytes(content)
    problems = Problems()
    return annotations.read_refs(path, problems), problems.lines


def test_refs_of_python_2_are_read(tmp_path):
    # Byte strings, as in the published files. Protocol 0 is readable text.
    refs, problems = read(
        b"(l(dS'ref_id'\nI7\nsS'ann_id'\nI8\nsS'image_id'\nI9\nsS'split'\nS'val'\n"
        b"sS'sentences'\n(l(dS'sent'\nS'caf\\xc3\\xa9'\nsS'raw'\nS'x'\nsS'sent_id'\nI5\nsasa.",
        tmp_path,
    )
    assert problems == [] and refs == [
        REF | {"sentences": [{"sent_id": 5, "sent": "café", "raw": "x"}]}
    ]


def test_bytes_that_python_3_wrote_in_protocol_2_are_read(tmp_path):
    sentence = {b"sent_id": 5, b"sent": "café".encode(), b"raw": b"\x00"}
    refs, problems = read([REF | {"sentences": [sentence]}], tmp_path)
    assert problems == []
    assert refs[0]["sentences"] == [{"sent_id": 5, "sent": "café", "raw": "\x00"}]


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-executed",)


class HostileCodec:
    def __reduce__(self):
        import _codecs

        return _codecs.encode, ("x", "rot13")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY random bytes", "is not a pickle of refs"),
        (b"", "is not a pickle of refs"),
        (pickle.dumps([{"a": 1}])[:-5], "is not a pickle of refs"),
        (pickle.dumps({"refs": []}), "holds a dict, expected a list"),
        (pickle.dumps([]), "holds a list"),
        (pickle.dumps([Hostile()]), r"refers to \w+.mkdir; only plain"),
        (pickle.dumps([HostileCodec()]), "encodes something other than bytes"),
        (pickle.dumps([pathlib.Path("x")]), r"refers to pathlib\S*; only plain"),
        (b"cos\nsystem\n(S'mkdir pickle-was-executed'\ntR.", "refers to os.system"),
    ],
)
def test_a_file_without_refs_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=rf"refs\.p {message}|refs\.p .*{message}"):
        read(content, tmp_path)
    assert not pathlib.Path("pickle-was-executed").exists()


@pytest.mark.parametrize("field", sorted(REF))
def test_a_ref_that_lacks_a_field_is_named(field, tmp_path):
    lacking = {key: value for key, value in REF.items() if key != field}
    refs, problems = read([REF, lacking], tmp_path)
    assert refs == [REF]
    assert problems == [f"{tmp_path / 'refs.p'}, entry 1: it lacks {field}"]


def test_text_that_is_not_utf_8_is_named(tmp_path):
    refs, problems = read([REF, REF | {b"split": b"v\xe4l"}], tmp_path)
    assert refs == [REF]
    (problem,) = problems
    assert "refs.p, entry 1: its text is not UTF-8" in problem


def test_all_refs_with_a_repeated_id_are_skipped(tmp_path):
    refs, problems = read([REF, REF | {"ref_id": 1}, REF], tmp_path)
    assert [ref["ref_id"] for ref in refs] == [1]
    assert problems == [f"{tmp_path / 'refs.p'}, ref_id 7: 2 entries have this id"]


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"images": [], "annotations": []}',
        '{"images": [{}]}',
        '{"images": [3], "annotations": [], "categories": []}',
        "\udcff",
    ],
)
def test_a_file_without_instances_is_refused(content, tmp_path):
    path = tmp_path / "instances.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"instances\.json is not .* Unpack it again"):
        annotations.read_instances(path, [], Problems())


# Refs to entries 1 and 2.
NAMED = [REF | {"ann_id": number, "image_id": number} for number in (1, 2)]


def test_instances_with_a_repeated_id_are_skipped(tmp_path):
    path = tmp_path / "instances.json"
    twice = [{"id": 1}, {"id": 2}, {"id": 1}]
    path.write_text(json.dumps({"images": [], "annotations": twice, "categories": []}))
    problems = Problems()
    instances = annotations.read_instances(path, NAMED, problems)
    assert list(instances["annotations"]) == [2]
    assert problems.lines == [f"{path}, annotations, id 1: 2 entries have this id"]


@pytest.mark.parametrize(
    ("split", "meant"),
    [
        ("train", ["train"]),
        ("test", ["test"]),
        ("testA", ["testA"]),
        ("testBC", ["testB", "testC"]),
        ("testABC", ["testA", "testB", "testC"]),
    ],
)
def test_a_split_of_several_letters_means_several_splits(split, meant):
    assert joined.splits_of(split) == meant


def test_objects_without_refs_are_not_kept(tmp_path):
    path = tmp_path / "instances.json"
    entries = [{"id": number, "area": 7} for number in range(1, 6)]
    parts = dict.fromkeys(("images", "annotations", "categories"), entries)
    path.write_text(json.dumps(parts))
    instances = annotations.read_instances(path, NAMED, Problems())
    assert list(instances["annotations"]) == list(instances["images"]) == [1, 2]
    assert len(instances["categories"]) == 5  # There are few, so all are kept.
    assert instances["annotations"][1] == {"id": 1}


def test_annotations_of_many_objects_take_little_memory(tmp_path):
    path = tmp_path / "instances.json"
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    points = 150 + 100 * np.stack([np.cos(angles), np.sin(angles)], 1)
    polygon = points.round(2).ravel().tolist()
    entries = [
        {"id": number, "image_id": 1, "segmentation": [polygon]}
        for number in range(5_000)
    ]
    path.write_text(
        json.dumps({"images": [], "annotations": entries, "categories": []})
    )
    del entries
    refs = [REF | {"ann_id": number, "image_id": 1} for number in range(500)]
    tracemalloc.start()
    instances = annotations.read_instances(path, refs, Problems())
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Parsed whole, it takes five times its size.
    assert now < 500 * 3_000 and peak < path.stat().st_size * 1.2
    (kept,) = instances["annotations"][499]["segmentation"]
    assert list(kept) == polygon
    polygons = {"segmentation": [polygon]}, instances["annotations"][499]
    whole, compact = (
        masks.encode_segmentation(p["segmentation"], 300, 300) for p in polygons
    )
    assert whole == compact


def test_words_of_refs_are_shared_and_tokens_dropped(tmp_path):
    sentence = REF["sentences"][0] | {"tokens": ["a", "cat"], "raw": "a cat"}
    refs, problems = read([REF | {"sentences": [sentence, sentence.copy()]}], tmp_path)
    assert problems == []
    for read_back in refs[0]["sentences"]:
        assert set(read_back) == {"sent_id", "sent", "raw"}
        assert read_back["sent"] is read_back["raw"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # Memo numbers from 0, from 1, with gaps, and reused.
        (b"(lp0\nS'a'\np1\nag1\nag1\na.", ["a", "a", "a"]),
        (b"(lp1\nS'a'\np2\nag2\na.", ["a", "a"]),
        (b"(lp7\nS'a'\np900000000\nag900000000\na.", ["a", "a"]),
        (b"(lp0\nS'a'\np1\naS'b'\np1\nag1\na.", ["a", "b", "b"]),
    ],
)
def test_objects_of_a_pickle_are_found_by_number(content, expected):
    assert plain_pickle.load(content) == expected


@pytest.mark.parametrize("number", ["1", "-1", "5"])
def test_an_unknown_object_number_is_refused(number):
    with pytest.raises((pickle.UnpicklingError, KeyError, ValueError)):
        plain_pickle.load(b"(lp0\ng%s\na." % number.encode())


def test_a_file_of_grefcoco_is_named(tmp_path):
    grefs = [REF | {"ann_id": [8, 9]}, REF | {"ref_id": 1, "ann_id": [-1]}]
    with pytest.raises(ValueError, match=r"refs\.p is a file of gRefCOCO") as raised:
        read(grefs, tmp_path)
    assert str(raised.value).startswith("2 problems")
    assert "entry 0: its ann_id is [8, 9], expected text or a whole" in str(
        raised.value
    )
    assert "the data set grefcoco" in str(raised.value)
    # Beside usable refs, such a ref is damage.
    refs, problems = read([REF, grefs[1]], tmp_path)
    assert refs == [REF]
    assert problems == [
        f"{tmp_path / 'refs.p'}, entry 1: its ann_id is [-1], expected text or a whole "
        "number"
    ]


def join(refs, splits, tmp_path, **changes):
    """Reads refs, with one object on one image, and joins them."""
    entries = {
        "images": [{"id": 9, "file_name": "a.jpg", "height": 6, "width": 8}],
        "annotations": [{"id": 8, "image_id": 9, "segmentation": [[1, 1, 5, 1, 5, 5]]}],
        "categories": [{"id": 2, "name": "cat"}],
    }
    for part, change in changes.items():
        entries[part][0].update(change)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(entries))
    problems = Problems()
    (tmp_path / "refs.p").write_bytes(pickle.dumps(refs))
    refs = annotations.read_refs(tmp_path / "refs.p", problems)
    instances = annotations.read_instances(path, refs, problems)
    made = joined.make_annotations(refs, instances, splits, tmp_path, problems)
    return made, problems.lines


@pytest.mark.parametrize(
    "changes",
    [
        {"images": {"id": "9", "height": 6.0, "width": 8.0}},
        {"annotations": {"id": "8", "image_id": 9.0, "category_id": 2.0}},
        {"annotations": {"category_id": "2"}},
    ],
)
def test_ids_and_sizes_of_tables_match(changes, tmp_path):
    made, problems = join([REF], ("val",), tmp_path, **changes)
    assert problems == []
    (image,) = made["val"]
    assert (image.image_id, image.size) == ("9", (6, 8))
    (thing,) = image.objects
    has_category = "category_id" in changes.get("annotations", {})
    assert thing.category == ("cat" if has_category else "")
    as_text = REF | {"ann_id": "8", "image_id": "9", "ref_id": "7"}
    assert join([as_text], ("val",), tmp_path, **changes) == (made, problems)


def test_unusable_refs_are_the_reason_of_a_missing_split(tmp_path):
    refs = [REF, REF | {"ref_id": 1, "split": "train", "image_id": None}]
    with pytest.raises(ValueError) as raised:
        join(refs, ("train", "val"), tmp_path)
    said = str(raised.value)
    assert "refs.p, entry 1: it lacks image_id" in said
    assert "usable refs have the splits ['val'], expected ['train', 'val']" in said
    assert "another partition" not in said


def test_an_object_stays_without_its_part_of_two_points(tmp_path):
    good = [1, 1, 5, 1, 5, 5]
    (expected, _), (made, problems) = (
        join([REF], ("val",), tmp_path, annotations={"segmentation": parts})
        for parts in ([good], [good, [1, 1, 5, 5]])
    )
    assert made == expected
    (problem,) = problems
    assert problem.startswith("ref 7, object 8: a polygon of its mask has fewer than 3")
