import dataclasses
import itertools
import json
import threading

import numpy as np
from streams import make_loader

from restr_jax.data import pipeline, preprocess, splits


def test_scoring_sees_every_expression_once_and_pads_the_batch(shapes_dir):
    loader = make_loader(shapes_dir, 1, split="val")
    seen, rows = [], 0
    for batch, examples in pipeline.eval_batches(loader, 1, num_devices=5):
        assert batch["image"].shape == (5, 32, 32, 3)
        assert batch["tokens"].shape == (5, 9, 10)
        for image, example in zip(batch["image"], examples, strict=False):
            fitted = preprocess.fit_image(example.image, (32, 32), "stretch")
            np.testing.assert_array_equal(image, fitted)
        assert batch["valid"].sum() == sum(len(e.chosen) for e in examples)
        assert not batch["valid"][len(examples) :].any()
        seen += [(e.record, i) for e in examples for i in e.chosen]
        rows += 1
    assert seen == [(r, i) for r in range(8) for i in range(9)]
    assert rows == 2


def test_images_with_equally_many_expressions_are_scored_together(shapes_dir):
    split = splits.open_split(shapes_dir, "shapes", "val")
    counts = [3, 9, 1, 0, 9, 3, 2, 1]
    sentences = [s[:n] for s, n in zip(split.sentences, counts, strict=True)]
    split = dataclasses.replace(split, sentences=sentences)
    loader = dataclasses.replace(make_loader(shapes_dir, 1), split=split)
    batches = [
        [(e.record, len(e.chosen)) for e in examples]
        for _, examples in pipeline.eval_batches(loader, 2)
    ]
    # An image without expressions is skipped.
    assert batches == [[(1, 9), (4, 9)], [(0, 3), (5, 3)], [(6, 2), (2, 1)], [(7, 1)]]


def test_processes_share_the_batches_in_scoring(shapes_dir):
    loader = make_loader(shapes_dir, 1, split="val")
    shares = [
        [
            (example.record, i)
            for _, examples in pipeline.eval_batches(
                loader, 1, process_index=process, process_count=3
            )
            for example in examples
            for i in example.chosen
        ]
        for process in range(3)
    ]
    assert all(shares)
    assert sorted(itertools.chain(*shares)) == [
        (r, i) for r in range(8) for i in range(9)
    ]


def test_each_expression_comes_with_the_mask_of_its_own_object(gref_dir, testdata):
    expected = json.loads((testdata / "expected_refer.json").read_text())["gref/google"]
    areas = {
        o["expressions"][0]: o["area_px"]
        for split in ("train", "val")
        for o in expected[split]["objects"]
    }
    for split in ("train", "val"):
        loader = make_loader(gref_dir, 1, "gref/google", split)
        found = {
            loader.split.sentences[example.record][i]: mask.sum()
            for _, examples in pipeline.eval_batches(loader, 2)
            for example in examples
            for i, mask in zip(example.chosen, example.masks, strict=True)
        }
        assert found == {sentence: areas[sentence] for sentence in found}
        assert len(found) == 2


def test_stopping_early_ends_the_threads_of_scoring(shapes_dir):
    batches = pipeline.eval_batches(make_loader(shapes_dir, 2), 2)
    next(batches)
    threads = [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]
    assert threads
    batches.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
