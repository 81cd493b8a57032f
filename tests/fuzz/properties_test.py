import json
import pickle

import numpy as np
import pytest
from fuzz import annotation_targets, weight_targets
from fuzz.contract import FOLDER, write
from fuzz.targets import TARGETS
from hypothesis import assume, given
from hypothesis import strategies as st

from restr_jax.data import flip, glove, preprocess
from restr_jax.data.text import TOKENIZERS, Vocabulary
from restr_jax.pretrained import weight_files
from tfds_builders import masks, rle
from tfds_builders.annotations import Problems
from tfds_builders.refer import annotations

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
sides = st.integers(1, 12)


@st.composite
def drawn_masks(draw, size=None):
    height, width = size or (draw(sides), draw(sides))
    pixels = draw(st.binary(min_size=height * width, max_size=height * width))
    return (np.frombuffer(pixels, np.uint8) > 160).reshape(height, width)


# Masks.


@given(drawn_masks())
def test_a_mask_is_read_as_it_was_encoded(mask):
    counts = masks.encode_mask(mask)
    np.testing.assert_array_equal(
        preprocess.decode_mask(counts.encode(), mask.shape), mask
    )
    runs = rle.read_runs(counts, *mask.shape)
    assert not (runs[1:] == 0).any()
    again = rle.read_runs(runs.tolist(), *mask.shape)
    np.testing.assert_array_equal(rle.to_mask(again, *mask.shape), mask)


def with_empty_runs(mask, places):
    """Splits runs of a mask's RLE: each into a run, an empty one, and the rest."""
    runs = rle.read_runs(masks.encode_mask(mask), *mask.shape).tolist()
    for place in places:
        k = place % len(runs)
        runs[k : k + 1] = [runs[k] // 2, 0, runs[k] - runs[k] // 2]
    return {"size": list(mask.shape), "counts": runs}


@given(
    st.lists(drawn_masks((5, 7)), min_size=1, max_size=4),
    st.lists(st.integers(0, 99), max_size=4),
)
def test_parts_of_any_spelling_become_their_union(parts, places):
    union = np.any(parts, axis=0)
    assume(union.any())
    segmentation = [with_empty_runs(part, places) for part in parts]
    assert masks.encode_segmentation(segmentation, 5, 7) == masks.encode_mask(union)


@given(
    drawn_masks((5, 7)), st.integers(0, 99), st.sampled_from([-1, 1, 0.5, True, "1"])
)
def test_runs_with_an_error_anywhere_are_refused(mask, place, change):
    runs = rle.read_runs(masks.encode_mask(mask), 5, 7).tolist()
    k = place % len(runs)
    runs[k] = runs[k] + change if isinstance(change, int | float) else change
    with pytest.raises(ValueError):
        rle.read_runs(runs, 5, 7)


@pytest.mark.parametrize(
    "counts",
    ["", "o", "S1o", "S1`", "S10:", "`1o", "0" * 34, "oooooooo0", "\x00", 3, None, []],
)
def test_a_string_that_is_too_long_or_too_short_is_refused(counts):
    with pytest.raises(ValueError):
        rle.read_runs(counts, 5, 7)


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=12))
def test_polygons_become_masks_or_are_refused(points):
    try:
        counts = masks.encode_segmentation([points], 6, 8)
    except ValueError:
        return
    assert preprocess.decode_mask(counts.encode(), (6, 8)).any()


# Text.


@given(texts)
def test_any_text_becomes_words_and_ids(sentence):
    TARGETS["tokens"].run(sentence.encode())
    TARGETS["expressions"].run(sentence.encode())
    TARGETS["page"].run(sentence.encode())


sided = sorted(flip._MIRRORED)
plain = ["the", "man", "copyright", "upright", "rigth", "links", "o'left_", "ǆ"]


@given(
    st.lists(st.sampled_from(sided + plain)), st.sampled_from([" ", ", ", "-", "\n"])
)
def test_mirroring_twice_restores_the_text(words, between):
    sentence = between.join(words)
    once = flip.mirror_sentence(sentence)
    assert flip.mirror_sentence(once) == sentence
    changed = (
        [a != b for a, b in zip(words, once.split(between), strict=True)]
        if words
        else []
    )
    assert changed == [word in sided for word in words]


@given(st.lists(texts, max_size=4), st.sampled_from(sorted(TOKENIZERS)))
def test_a_vocabulary_is_read_as_it_was_written(sentences, name):
    said = [sentence for sentence in sentences if sentence.strip() not in ("", ".")]
    made = Vocabulary.from_sentences(said, name)
    path = write("words.txt", made.to_text().encode())
    assert Vocabulary.load(path, name).words == made.words


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        min_size=8,
        max_size=8,
    )
)
def test_word_vectors_are_read_as_they_were_written(values):
    table = np.array(values, np.float32).reshape(4, 2)
    words = ["the", "man", "left", "red"]
    lines = [f"{w} {a} {b}" for w, (a, b) in zip(words, table, strict=True)]
    path = write("vectors.txt", "\n".join(lines).encode())
    found, absent = glove.read(path, Vocabulary(["<pad>", "<unk>", *words]), 2, seed=0)
    np.testing.assert_array_equal(found[2:], table)
    assert absent == []


# Pickles and JSON.

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(texts, st.integers(0, 2**62), values, st.integers(0, 5))
def test_plain_refs_of_any_protocol_are_read(said, number, other, protocol):
    ref = annotation_targets._REFS[0] | {"ref_id": number, "tokens": [other]}
    ref["sentences"] = [{"sent_id": 1, "sent": said, "raw": said}]
    problems = Problems()
    path = write("plain.p", pickle.dumps([ref], protocol))
    (found,) = annotations.read_refs(path, problems)
    assert problems.lines == []
    del ref["tokens"]  # Unused by the builders.
    assert repr(found) == repr(ref)


GADGETS = [
    b"cos\nsystem\n(S'{}'\ntR.",
    b"cbuiltins\nexec\n(S'{}'\ntR.",
    b"(S'{}'\nios\nsystem\n.",
    b"(cos\nsystem\nS'{}'\no.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    b"\x80\x02cos\nsystem\n)\x81.",
    b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00ax\x8a\x00sb.",
    b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR.",
    b"\x80\x02cbuiltins\ngetattr\n.",
    b"\x82\x01.",
    b"Pname\n.",
]


@pytest.mark.parametrize("gadget", GADGETS, ids=range(len(GADGETS)))
def test_no_pickle_runs_anything(gadget, tmp_path):
    proof = tmp_path / "it-ran"
    gadget = gadget.replace(b"{}", f"touch {proof}".encode())
    path = write("gadget.p", gadget)
    with pytest.raises(
        ValueError, match=r"gadget\.p is not a pickle of refs: .*(only|other)"
    ):
        annotations.read_refs(path, Problems())
    file = weight_targets._FILE
    with pytest.raises(ValueError, match=r"gadget\.pth: "):
        weight_files.read_arrays(file.write(FOLDER / "gadget.pth", gadget[:-1]))
    assert not proof.exists()


def paths_in(tree, path=()):
    yield path
    if not isinstance(tree, dict | list):
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from paths_in(value, (*path, key))


JSON_TARGETS = (
    "instances segmentation predictions requests own_lines own_coco_file own_metadata "
    "referit_queries referit_sizes folder_config"
).split()


ODD = [10**9, -1, 1e999, 2**70, "\ud800", "", "a" * 300]


@pytest.mark.parametrize("name", JSON_TARGETS)
@given(
    st.integers(0, 9999), values | st.sampled_from([10**9, -1, 1e999, 2**70, "\ud800"])
)
def test_any_json_value_is_accepted_or_refused(name, place, value):
    seeds = [s for s in TARGETS[name].seeds if s.strip().startswith((b"{", b"["))]
    tree = json.loads(seeds[place % len(seeds)].split(b"\n\n")[0].split(b"\n{")[0])
    paths = list(paths_in(tree))
    *inner, last = (None, *paths[place % len(paths)])
    node = tree
    for key in inner[1:]:
        node = node[key]
    if last is None:
        tree = value
    else:
        node[last] = value
    TARGETS[name].run(json.dumps(tree).encode())
