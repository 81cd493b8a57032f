"""The text_objseg layout: small files, damaged files, and the full published ones."""

import collections
import gzip
import hashlib
import json
import pathlib
import re

import numpy as np
import pytest
import scipy.io

from tfds_builders.annotations import Problems, ReferredObject, Sentence
from tfds_builders.referit import text_objseg

ROOT = pathlib.Path(__file__).parent.parent.parent

QUERY = "referit_query_val.json"
LISTED = "referit_val_imlist.txt"
SIZES = "referit_imsize.json"


@pytest.fixture
def folder(tmp_path):
    """Returns a folder of three images, the last without expressions; three regions."""
    said = {"9_1": ["sky ", "The Sky."], "7_10": ["a dog"], "9_2": ["..."]}
    (tmp_path / QUERY).write_text(json.dumps(said))
    (tmp_path / LISTED).write_text("7\n9\n8\n")
    sizes = {"7.jpg": [6, 4], "9.jpg": [3, 5], "8.jpg": [1, 1], "2.jpg": "unused"}
    (tmp_path / SIZES).write_text(json.dumps(sizes))
    (tmp_path / "mask").mkdir()
    for region in said:
        mask = np.zeros((4, 6), np.int16)
        scipy.io.savemat(tmp_path / f"mask/{region}.mat", {"segimg_t": mask})
    return tmp_path


def read(folder):
    problems = Problems()
    annotations = text_objseg.read_annotations(folder, ("val",), problems)
    return annotations["val"], problems.lines


def thing(folder, region, *sentences):
    mask = folder / "mask" / f"{region}.mat"
    return ReferredObject(region, region, "", mask, sentences)


def test_regions_are_grouped_by_image_in_list_order(folder):
    images, lines = read(folder)
    assert lines == []
    assert [(i.image_id, i.path, i.size) for i in images] == [
        ("7", folder / "images/7.jpg", (4, 6)),
        ("9", folder / "images/9.jpg", (5, 3)),
    ]
    assert images[0].objects == (
        thing(folder, "7_10", Sentence("7_10_0", "a dog", "a dog")),
    )
    assert images[1].objects == (
        thing(
            folder,
            "9_1",
            Sentence("9_1_0", "sky", "sky "),
            Sentence("9_1_1", "The Sky.", "The Sky."),
        ),
        # The published train split has such an expression; tokenisers keep it.
        thing(folder, "9_2", Sentence("9_2_0", "...", "...")),
    )


def test_the_files_are_those_of_all_splits():
    assert text_objseg.files(["train", "test"]) == (
        "referit_query_train.json",
        "referit_train_imlist.txt",
        "referit_query_test.json",
        "referit_test_imlist.txt",
        "referit_imsize.json",
    )


def names_of(images):
    return [thing.object_id for image in images for thing in image.objects]


@pytest.mark.parametrize(
    ("said", "record", "message"),
    [
        ('"4_1": ["x"]', "region 4_1", f"its image 4 is not in {LISTED}"),
        ('"9": ["x"]', "region 9", "its name is not <image>_<number>"),
        ('"_9": ["x"]', "region _9", "its name is not <image>_<number>"),
        ('"9_": ["x"]', "region 9_", "its name is not <image>_<number>"),
        ('"9_5": "x"', "region 9_5", "it has 'x', expected a list of expressions"),
        ('"9_5": {"a": 1}', "region 9_5", "it has (('a', 1),), expected a list"),
        ('"9_5": []', "region 9_5", "it has [], expected a list of expressions"),
        ('"9_5": [" \\t "]', "region 9_5, expression 0", "the expression is empty"),
        ('"9_5": ["\\u3000"]', "region 9_5, expression 0", "the expression is empty"),
        ('"9_5": [" . "]', "region 9_5, expression 0", "the expression is empty"),
        ('"9_5": [5]', "region 9_5, expression 0", "the expression is 5, not text"),
        (
            '"9_5": [["x"]]',
            "region 9_5, expression 0",
            "the expression is ['x'], not text",
        ),
        (
            '"9_5": ["\\ud800"]',
            "region 9_5, expression 0",
            "the expression cannot be stored",
        ),
        ('"9_5": ["x"]', "mask/9_5.mat", "the mask is missing"),
        ('"9_5": ["x"], "9_5": ["y"]', "region 9_5", "it has 2 entries, expected one"),
    ],
)
def test_a_bad_region_is_one_problem_and_the_rest_is_read(
    folder, said, record, message
):
    query = folder / QUERY
    query.write_text(query.read_text()[:-1] + f", {said}}}")
    images, (line,) = read(folder)
    file = "mask/9_5.mat" if record.startswith("mask") else QUERY
    where, _, what = line.partition(": ")
    assert where.startswith(str(folder / file)) and where.endswith(record)
    assert what.startswith(message)
    assert names_of(images) == ["7_10", "9_1", "9_2"]


def test_only_the_bad_expression_of_a_region_is_skipped(folder):
    (folder / QUERY).write_text('{"9_1": ["sky", "", "clouds"]}')
    (image,), (line,) = read(folder)
    assert f"{QUERY}, region 9_1, expression 1: the expression is empty" in line
    # The other expressions keep their ids from the whole file.
    assert [s.sent_id for s in image.objects[0].sentences] == ["9_1_0", "9_1_2"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ('{"7.jpg": [6, 4]}', "it has 0 entries, expected one"),
        (
            '{"7.jpg": [6, 4], "9.jpg": [3, 5], "9.jpg": [5, 3]}',
            "it has 2 entries, expected one",
        ),
        ('{"7.jpg": [6, 4], "9.jpg": [3]}', "it has [3], expected [width, height]"),
        ('{"7.jpg": [6, 4], "9.jpg": [0, 5]}', "it has [0, 5], expected [width,"),
        ('{"7.jpg": [6, 4], "9.jpg": "35"}', "it has '35', expected [width, height]"),
        ('{"7.jpg": [6, 4], "9.jpg": null}', "it has None, expected [width, height]"),
    ],
)
def test_an_image_without_a_unique_size_is_one_problem(folder, sizes, message):
    (folder / SIZES).write_text(sizes)
    images, (line,) = read(folder)
    assert line.startswith(f"{folder / SIZES}, image 9.jpg: {message}")
    assert names_of(images) == ["7_10"]


def test_an_image_of_two_splits_without_a_size_is_named_once(folder):
    for name in (QUERY, LISTED):
        other = name.replace("val", "trainval")
        (folder / other).write_text((folder / name).read_text())
    (folder / SIZES).write_text('{"7.jpg": [6, 4]}')
    problems = Problems()
    both = text_objseg.read_annotations(folder, ("val", "trainval"), problems)
    assert len(problems.lines) == 1 and "image 9.jpg" in problems.lines[0]
    assert both["val"] == both["trainval"]


def test_an_image_that_is_listed_twice_is_named_and_read_once(folder):
    (folder / LISTED).write_text("7\n9\n7\n")
    images, (line,) = read(folder)
    assert line == f"{folder / LISTED}, image 7: it is listed 2 times"
    assert names_of(images) == ["7_10", "9_1", "9_2"]


@pytest.mark.parametrize("name", [QUERY, SIZES])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON in UTF-8"),
        (b"not json", "is not JSON in UTF-8"),
        (b'{"9_1": ["caf\xe9"]}', "is not JSON in UTF-8: 'utf-8' codec"),
        (b"[" * 100_000, "is not JSON in UTF-8"),
        (b'["9_1"]', r"holds \['9_1'\], expected a JSON object"),
        (b"null", "holds None, expected a JSON object"),
    ],
)
def test_a_file_without_a_json_object_is_refused(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(name)} {message}"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "lists no image"), (b" \n", "lists no"), (b"7\n\xff", "is not UTF-8 text")],
)
def test_an_invalid_list_of_images_is_refused(folder, content, message):
    (folder / LISTED).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{LISTED} {message}"):
        read(folder)


# Counts of the full published files, taken from independent sources.

MEASURED = {
    # images listed, with expressions; regions, expressions, tokens, distinct, longest
    "train": (9000, 8995, 44649, 54134, 192135, 5426, 34),
    "val": (1000, 1000, 4866, 5842, 20202, 1589, 26),
    "trainval": (10000, 9995, 49515, 59976, 212337, 5731, 34),
    "test": (10000, 9994, 49730, 60105, 212613, 5834, 41),
}

# Number of expressions with 1, 2, 3, ... tokens, then with more than 28.
LENGTHS = {
    "trainval": (
        [15302, 10153, 10843, 7647, 5214, 3420, 2384, 1696, 1057, 768, 513, 311, 196]
        + [170, 73, 78, 48, 34, 19, 11, 9, 10, 5, 1, 5, 6, 1, 1],
        {34: 1},
    ),
    "test": (
        [15588, 9870, 10935, 7609, 5279, 3468, 2386, 1608, 1099, 733, 510, 346, 222]
        + [156, 97, 60, 30, 30, 21, 17, 11, 6, 3, 3, 5, 2, 4, 2],
        {30: 2, 34: 1, 38: 1, 41: 1},
    ),
}


@pytest.fixture(scope="module")
def full(real_samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("referit")
    for packed in (real_samples / "real/referit").glob("referit_*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def said(full):
    problems = Problems()
    said = {s: text_objseg.read_split(full, s, problems) for s in MEASURED}
    assert problems.lines == []
    return said


def tokens_of(sentence):
    """Tokenises as for the published counts: punctuation keeps its spaces."""
    pieces = re.split(r"(\W+)", sentence)
    words = [piece.lower() for piece in pieces if piece.strip()]
    return words[:-1] if words[-1] == "." else words


@pytest.mark.parametrize("split", MEASURED)
def test_the_full_files_have_the_published_counts(full, said, split):
    listed = full / f"referit_{split}_imlist.txt"
    regions = [r for of_image in said[split].values() for r in of_image.values()]
    tokens = [tokens_of(s.sent) for sentences in regions for s in sentences]
    lengths = collections.Counter(map(len, tokens))
    assert (
        len(text_objseg.read_image_list(listed, Problems())),
        len(said[split]),
        len(regions),
        len(tokens),
        sum(map(len, tokens)),
        len({token for of_sentence in tokens for token in of_sentence}),
        max(lengths),
    ) == MEASURED[split]
    if split in LENGTHS:
        up_to_28, longer = LENGTHS[split]
        assert lengths == dict(enumerate(up_to_28, start=1)) | longer


def test_the_full_trainval_is_train_and_val(said):
    train, val, trainval = (said[split] for split in ("train", "val", "trainval"))
    assert not train.keys() & val.keys()
    assert train | val == trainval
    assert not trainval.keys() & said["test"].keys()


def test_every_full_image_has_a_size(full):
    problems = Problems()
    images = [
        image
        for split in ("trainval", "test")
        for image in text_objseg.read_image_list(
            full / f"referit_{split}_imlist.txt", problems
        )
    ]
    sizes = text_objseg.read_sizes(full / SIZES, images, problems)
    assert problems.lines == []
    counts = collections.Counter(sizes.values())
    common = {(360, 480): 10992, (480, 360): 6060, (320, 480): 2353, (480, 320): 593}
    assert {size: counts[size] for size in common} == common
    assert counts.total() == 20_000


def test_the_published_hashes_are_those_of_the_full_files(full):
    path = ROOT / "tfds_builders" / "referit" / "published_files.json"
    for name, file in json.loads(path.read_text()).items():
        content = (full / pathlib.Path(name).name).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
