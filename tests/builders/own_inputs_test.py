"""Images of more than 8 bits and words of other scripts, from their files to a set."""

import json

import numpy as np
import pytest
from PIL import Image

from restr_jax.data import photograph, preprocess, splits
from restr_jax.data.text import Vocabulary
from tfds_builders import prepare
from tfds_builders.inspection import check

SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]


def write(folder, image, **expressions):
    folder.mkdir()
    image.save(folder / "a.png")
    for split, said in expressions.items():
        lines = [
            json.dumps({"image": "a.png", "expression": text, "mask": SQUARE})
            for text in said
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def built(folder, **options):
    """Builds a set; returns the lines that the command prints."""
    given = {"skip_bad": False, "num_workers": 1} | options
    data_dir = str(folder.parent / "data")
    return list(prepare.prepare_all(["custom"], data_dir, str(folder), **given))


def test_a_scan_of_16_bits_is_stored_as_prediction_reads_it(tmp_path):
    grey = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 50
    write(tmp_path / "mine", Image.fromarray(grey), train=["the square"])
    built(tmp_path / "mine")
    record = splits.open_split(str(tmp_path / "data"), "custom", "train").source[0]
    stored = preprocess.decode_image(record["image"], "it")
    assert len(np.unique(stored)) == 235  # 59,950 // 256 + 1
    wanted = photograph.to_pixels(tmp_path / "mine" / "a.png")
    np.testing.assert_array_equal(stored, wanted)


def test_a_scan_of_12_bits_is_refused_before_the_build(tmp_path):
    grey = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 3
    write(tmp_path / "mine", Image.fromarray(grey), train=["the square"])
    with pytest.raises(ValueError, match=r"a.png: its values of type uint16 run from"):
        built(tmp_path / "mine")
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_expressions_without_a_word_of_training_are_printed(tmp_path, capsys):
    image = Image.new("RGB", (8, 8))
    val = ["लाल चौकोर", "the red one"]
    write(tmp_path / "mine", image, train=["red square", "左边的方块"], val=val)
    (line,) = [x for x in built(tmp_path / "mine") if "no word" in x]
    assert line == (
        "  val: 1 of 2 expressions have no word of train, such as 'लाल चौकोर'"
    )
    capsys.readouterr()
    check.check_all(str(tmp_path / "data"), ["custom"])
    assert capsys.readouterr().out.splitlines() == [
        "custom: 2 records, 0 faults",
        line,
    ]


def test_words_of_a_split_serve_new_sentences_of_their_scripts(tmp_path):
    image = Image.new("RGB", (8, 8))
    train = ["लाल चौकोर", "左边的红色方块", "cre\u0300me cup"]
    write(tmp_path / "mine", image, train=train, val=["左边红色", "चौकोर", "crème"])
    assert not [x for x in built(tmp_path / "mine") if "no word" in x]
    data_dir = str(tmp_path / "data")
    (said,) = splits.open_split(data_dir, "custom", "train").sentences
    vocabulary = Vocabulary.from_sentences(said)
    (asked,) = splits.open_split(data_dir, "custom", "val").sentences
    assert [vocabulary.unknown(sentence) for sentence in asked] == [[], [], []]
