import itertools
import json
from collections import Counter

import numpy as np
import pytest

from restr_jax.data import pipeline, splits
from restr_jax.data.text import Vocabulary


def make_loader(data_dir, expressions, dataset="shapes", split="train"):
    opened = splits.open_split(data_dir, dataset, split)
    sentences = (s for of_record in opened.sentences for s in of_record)
    vocabulary = Vocabulary.from_sentences(sentences)
    return pipeline.Loader(opened, vocabulary, (32, 32), "stretch", 10, expressions)


def take(loader, number, *, start_step=0, seed=0, num_workers=0):
    stream = pipeline.train_batches(
        loader, 4, seed=seed, start_step=start_step, num_workers=num_workers
    )
    batches = list(itertools.islice(stream, number))
    stream.close()
    return batches


def assert_equal_batches(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_depends_on_its_position_alone(shapes_dir):
    loader = make_loader(shapes_dir, 2)
    straight = take(loader, 60)  # 40 scenes of five pairs: more than an epoch
    assert_equal_batches(straight[57:], take(loader, 3, start_step=57))
    assert_equal_batches(straight[:2], take(loader, 2, num_workers=2))
    other = take(loader, 1, seed=1)
    assert (other[0]["tokens"] != straight[0]["tokens"]).any()


@pytest.mark.parametrize("expressions", [1, 2, 9, 12])
def test_an_epoch_shows_every_expression_once(shapes_dir, expressions):
    loader = make_loader(shapes_dir, expressions)
    groups = len(loader.groups())
    assert groups == 40 * -(-9 // expressions)
    epochs = []
    for start in (0, groups // 4):
        shown = Counter()
        for batch in take(loader, groups // 4, start_step=start):
            shown.update(map(tuple, batch["tokens"][batch["valid"]].tolist()))
        epochs.append(shown)
    all_sentences = itertools.chain(*loader.split.sentences)
    expected = Counter(
        tuple(loader.vocabulary.encode(s, 10).tolist()) for s in all_sentences
    )
    assert epochs == [expected, expected]


def test_masks_belong_to_their_sentences(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    example = loader.load(3, np.array([4, 0, 8]))
    assert example.valid.tolist() == [True] * 3 + [False] * 6
    stored = example.fields
    for k, i in enumerate((4, 0, 8)):
        sentence = stored["expressions"]["sent"][i].decode()
        encoded = loader.vocabulary.encode(sentence, 10)
        np.testing.assert_array_equal(example.tokens[k], encoded)
        # An attribute that the sentence names is the object's.
        position = stored["expressions"]["object"][i]
        category = stored["objects"]["category"][position].decode().split()
        noun = sentence.split(" the ")[0].removeprefix("the ").split()
        named = set(noun) & {"small", "large", "red", "green", "blue", "yellow"}
        assert named <= set(category)
        # ... and so is the color under the mask.
        color = example.original[example.masks[k]].mean(0)
        if "red" in category:
            assert color[0] > 1.5 * color[2]
        if "blue" in category:
            assert color[2] > 1.5 * color[0]


def test_scoring_sees_every_expression_once_and_fills_up(shapes_dir):
    loader = make_loader(shapes_dir, 4, split="val")
    seen, rows = [], 0
    for batch, examples in pipeline.eval_batches(loader, 5):
        assert batch["image"].shape == (5, 32, 32, 3)
        assert batch["valid"].sum() == sum(len(e.chosen) for e in examples)
        assert not batch["valid"][len(examples) :].any()
        seen += [(e.record, i) for e in examples for i in e.chosen]
        rows += 1
    assert seen == [(r, i) for r in range(8) for i in range(9)]
    assert rows == -(-8 * 3 // 5)


def test_shuffling_texts_keeps_them_and_moves_them(shapes_dir):
    split = splits.open_split(shapes_dir, "shapes", "test")
    shuffled = splits.with_shuffled_text(split, 0)
    before = list(itertools.chain(*split.sentences))
    after = list(itertools.chain(*shuffled.sentences))
    assert Counter(before) == Counter(after)
    assert list(map(len, split.sentences)) == list(map(len, shuffled.sentences))
    assert sum(a == b for a, b in zip(before, after, strict=True)) < len(before) / 4


def test_what_is_not_there_is_said_with_its_remedy(shapes_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="tfds_builders.prepare gref"):
        splits.open_split(str(tmp_path), "gref", "train")
    with pytest.raises(ValueError, match=r"no split 'testA'; it has \['test', 'train'"):
        splits.open_split(shapes_dir, "shapes", "testA")


def test_a_record_that_cannot_be_decoded_is_named(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 1)
    record = dict(loader.split.source[0], image=b"damaged")
    monkeypatch.setattr(type(loader.split.source), "__getitem__", lambda *_: record)
    with pytest.raises(ValueError, match="shapes/train, image train_000000 is trunc"):
        loader.load(0, np.array([0]))


def test_a_stream_that_workers_resume_goes_on_where_it_was(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    straight = take(loader, 13)  # an epoch is ten batches
    resumed = take(loader, 4, start_step=9, num_workers=2)
    assert_equal_batches(straight[9:], resumed)


def test_epochs_differ_in_their_order(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    first, second = take(loader, 10), take(loader, 10, start_step=10)
    images = [np.concatenate([b["image"] for b in epoch]) for epoch in (first, second)]
    assert (images[0] != images[1]).any(axis=(1, 2, 3)).sum() > 20
    # ... and an image's expressions come in another order than before.
    by_image = [
        {
            i.tobytes(): t.tolist()
            for b in epoch
            for i, t in zip(b["image"], b["tokens"], strict=True)
        }
        for epoch in (first, second)
    ]
    assert by_image[0].keys() == by_image[1].keys() and len(by_image[0]) == 40
    assert sum(by_image[0][i] != by_image[1][i] for i in by_image[0]) > 30


def test_each_expression_comes_with_the_mask_of_its_own_object(gref_dir, testdata):
    expected = json.loads((testdata / "expected_gref.json").read_text())
    areas = {
        o["expressions"][0]: o["area_px"]
        for split in ("train", "val")
        for o in expected[split]["objects"]
    }
    for split in ("train", "val"):
        loader = make_loader(gref_dir, 1, "gref", split)
        found = {
            loader.split.sentences[example.record][i]: mask.sum()
            for _, examples in pipeline.eval_batches(loader, 2)
            for example in examples
            for i, mask in zip(example.chosen, example.masks, strict=True)
        }
        assert found == {sentence: areas[sentence] for sentence in found}
        assert len(found) == 2
