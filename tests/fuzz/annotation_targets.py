"""Targets that read annotations: pickles, JSON, RLE, polygons, mask files."""

import pathlib
import pickle

from fuzz.contract import (
    FOLDER,
    documented,
    seed_files,
    storable,
    target,
    text_of,
    write,
)
from fuzz.mask_targets import (
    HEIGHT,
    MASK,
    RLE,
    SIZE,
    WIDTH,
    check_counts,
    encoded,
    json_of,
)
from PIL import Image

from restr_jax.data.splits import Split
from restr_jax.evaluation import predictions as stored_predictions
from restr_jax.evaluation import stored
from restr_jax.inference import predict
from tfds_builders.annotations import Annotations, Problems
from tfds_builders.custom import coco, json_lines
from tfds_builders.refer import annotations as refer_annotations
from tfds_builders.refer import generalized, joined
from tfds_builders.referit import text_objseg
from tfds_builders.storage import paths


def check_images(found: list) -> None:
    """Asserts that the annotations returned by a reader can be built."""
    for image in found:
        storable(image.image_id, str(image.path))
        assert image.objects and all(
            type(side) is int and side > 0 for side in image.size
        )
        for thing in image.objects:
            storable(thing.object_id, thing.ref_id, thing.category)
            if isinstance(thing.mask, str):
                check_counts(thing.mask, list(image.size))
            assert thing.sentences
            for sentence in thing.sentences:
                storable(sentence.sent_id, sentence.sent, sentence.raw)
                assert sentence.sent.strip()


def _all_images(annotations: Annotations) -> list:
    return [image for split in annotations.values() for image in split]


_INSTANCES = {
    "images": [{"id": 9, "file_name": "a.jpg", "height": 6, "width": 8}],
    "annotations": [
        {"id": 8, "image_id": 9, "segmentation": [[1, 1, 5, 1, 5, 5]], "category_id": 2}
    ],
    "categories": [{"id": 2, "name": "cat"}],
}
_REFS = [
    {
        "ref_id": 7,
        "ann_id": 8,
        "image_id": 9,
        "split": "val",
        "sentences": [{"sent_id": 5, "sent": "a cat", "raw": "A cat"}],
    }
]


def _make(refs, instances, problems):
    with documented():
        made = joined.make_annotations(
            list(refs), instances, ("val",), FOLDER, problems
        )
        check_images(_all_images(made))


@target(
    *(pickle.dumps(_REFS, protocol=p) for p in range(6)),
    *seed_files("refer/refcocog/refs(google).p", "referit/refclef/refs(unc).p"),
    b"cos\nsystem\n(S'touch it-ran'\ntR.",
)
def refs(content):
    problems = Problems()
    with documented("refs.p"):
        found = refer_annotations.read_refs(write("refs.p", content), problems)
        parts = ("images", "annotations", "categories")
        kept = {p: {entry["id"]: entry for entry in _INSTANCES[p]} for p in parts}
        _make(found, kept, problems)


@target(*json_of([_REFS[0] | {"ann_id": ids} for ids in ([8], [8, 8], [-1])]))
def grefs(content):
    problems = Problems()
    with documented("grefs.json"):
        found = generalized.read_refs(write("grefs.json", content), problems)
        parts = ("images", "annotations", "categories")
        kept = {p: {entry["id"]: entry for entry in _INSTANCES[p]} for p in parts}
        generalized.drop_crowds(found, kept)
        _make(found, kept, problems)


@target(
    *json_of(_INSTANCES, _INSTANCES | {"annotations": [{"id": None}, {"id": 1}]}),
    *seed_files("refer/refcocog/instances.json"),
)
def instances(content):
    problems = Problems()
    with documented("instances.json"):
        path = write("instances.json", content)
        found = refer_annotations.read_instances(path, _REFS, problems)
        _make(_REFS, found, problems)


def _truth() -> Split:
    expressions = {"object": [0], "sent_id": [b"5"], "kind": [b""]}
    record = {
        "image": encoded(Image.new("RGB", (WIDTH, HEIGHT))),
        "image_id": b"9",
        "objects": {"mask": [RLE]},
        "expressions": expressions,
    }
    return Split("unc:val", [record], [["a cat"]], ["mscoco/9"])


_TRUTH = _truth()
_STORED = {"sent_id": "5", "mask": {"size": SIZE, "counts": RLE.decode()}}
_STRETCHED = {"stretched_mask": {"size": [2, 2], "counts": "22"}}


@target(
    *json_of(
        _STORED,
        _STORED | _STRETCHED | {"threshold": 0.5, "split": "unc:val"},
        _STORED | {"mask": {"size": [-6, -8], "counts": RLE.decode()}},
        _STORED | {"stretched_mask": {"size": [0, 9], "counts": "0"}},
        [_STORED],
    )
)
def predictions(content):
    with documented("stored.jsonl"):
        found = stored_predictions.read(write("stored.jsonl", content))
        with documented():
            row = stored.score(found, _TRUTH, (4, 4))
            assert 0 <= row["oiou"] <= 1 and 0 <= row["stretched"]["oiou"] <= 1


@target(
    b'{"image": "a.jpg", "expressions": ["the man", "red"]}\n\n{"image": "b.jpg"}',
    '{"image": "ü.jpg", "expressions": ["\u2028 left"]}\r\n'.encode(),
    b'{"image": "a.jpg", "expressions": ["\\ud800"]}',
)
def requests(content):
    with documented("requests.jsonl"):
        path = write("requests.jsonl", content)
        for request in predict._read_lines(path):
            storable(str(request.path), *request.expressions)
            assert request.expressions


write("photo.png", encoded(Image.new("RGB", (WIDTH, HEIGHT))))
write("mask.png", encoded(Image.fromarray(MASK)))
_LINE = {"image": "photo.png", "expression": "a cat", "mask": "mask.png"}
_POLYGON = _LINE | {"mask": [[1, 1, 5, 1, 5, 5]], "object_id": 3, "category": "cat"}


def _in_turn(function, items, what):
    return map(function, items)


@target(*json_of(_LINE, _POLYGON), b"\n".join(json_of(_LINE, _POLYGON) * 2))
def own_lines(content):
    with documented("own.jsonl"):
        path = write("own.jsonl", content)
        found = json_lines._read_lines(path, FOLDER, Problems(), _in_turn)
        check_images(found)


_COCO = {
    "images": [{"id": 1, "file_name": "photo.png", "height": 6, "width": 8}],
    "annotations": [
        _INSTANCES["annotations"][0] | {"image_id": 1, "expressions": ["a cat", "it"]},
        {"id": 9, "expression": "misspelt"},
    ],
    "categories": [{"id": 2, "name": "cat"}],
}


_HALF = {"id": 2, "name": "\ud800"}


@target(
    *json_of(_COCO, _COCO | {"categories": [_HALF]}), *seed_files("custom/val.json")
)
def own_coco_file(content):
    with documented("own.json"):
        path = write("own.json", content)
        check_images(coco.read_split(path, FOLDER, Problems(), _in_turn))


@target(*seed_files("referit/referit/referit_query_val.json"), b'{"10002_1": ["sky"]}')
def referit_queries(content):
    with documented("query.json"):
        path = write("query.json", content)
        for region, said in text_objseg.read_expressions(path, Problems()).items():
            storable(region, *(text for s in said for text in (s.sent, s.raw)))


@target(*seed_files("referit/referit/referit_imsize.json"), b'{"10002.jpg": [0, 1e9]}')
def referit_sizes(content):
    with documented("sizes.json"):
        path = write("sizes.json", content)
        for size in text_objseg.read_sizes(path, ["10002"], Problems()).values():
            assert all(type(side) is int and side > 0 for side in size)


@target(b"10002\n38100\n10002", "\ufeff1\u20282".encode())
def referit_images(content):
    with documented("list.txt"):
        storable(*text_objseg.read_image_list(write("list.txt", content), Problems()))


@target(b"a.jpg", b"./a//b", b"../x", b"/etc/passwd", b"a/../../x", b"\x00", b"C:\\x")
def own_path(content):
    """Asserts that an accepted path stays inside the folder, on either system."""
    for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
        with documented():
            written = paths.inside(text_of(content), kind)
            assert ".." not in written.split("/") and not written.startswith("/")
