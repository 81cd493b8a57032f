import copy

import jax
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.data import preprocess, splits
from restr_jax.data.masks import to_mask
from restr_jax.evaluation import metrics
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.models import bound
from restr_jax.parallel import Parallel


@pytest.fixture(scope="module")
def gref(gref_workdir, opened):
    """Opens `gref`: expressions of several images of several sizes."""
    config, workdir = gref_workdir
    run, evaluator, params = opened(config, workdir)
    split = run.data.scored("val")
    return config, run, split, evaluator.collect(params, split, 0.5), params


def test_every_expression_is_scored_as_if_it_were_alone(gref):
    config, run, split, records, params = gref
    height, width = config.model.image_size
    one = jax.device_get(params)
    apply = jax.jit(lambda *x: run.model.apply(*x, deterministic=True))
    assert [r["expression"] for r in records] == sum(split.sentences, [])
    position = 0
    for i, sentences in enumerate(split.sentences):
        fields = split.source[i]
        image = preprocess.decode_image(fields["image"], "")
        size = image.shape[:2]
        resized = Image.fromarray(image).resize((width, height), Image.BILINEAR)
        pixels = (np.asarray(resized, np.float32) - 127.5) / 127.5
        for k, sentence in enumerate(sentences):
            tokens = run.vocabulary.encode(sentence, config.data.max_words)
            output = apply({"params": one}, pixels[None], tokens[None, None])
            logits = np.asarray(output.pixel_logits[0, 0])
            restored = Image.fromarray(logits).resize(size[::-1], Image.BILINEAR)
            mask = np.asarray(restored) >= 0.0
            record = records[position]
            counts = fields["objects"]["mask"][fields["expressions"]["object"][k]]
            truth = {"size": list(size), "counts": counts}
            ours = mask_util.encode(np.asfortranarray(mask, np.uint8))
            # The reference is COCO's own code.
            expected = mask_util.iou([ours], [truth], [0])[0, 0]
            assert record["iou"] == pytest.approx(expected, abs=2e-4)
            found = mask_util.decode(record["mask"])
            assert np.count_nonzero(found != mask) <= 2e-5 * mask.size
            again = mask_util.iou([record["mask"]], [truth], [0])[0, 0]
            assert record["iou"] == pytest.approx(again, abs=1e-12)
            position += 1
    assert position == len(records)


def test_stretched_scores_use_the_output_of_the_network(gref, opened, gref_workdir):
    config, run, split, _, params = gref
    _, evaluator, _ = opened(*gref_workdir)
    every = list(evaluator.score(params, split, (0.5,)))
    assert len(every) == sum(map(len, split.sentences)) > 0
    for scored in every:
        (record,) = scored.records
        own = mask_util.decode(record["stretched_mask"]).astype(bool)
        assert own.shape == tuple(config.model.image_size)
        image = Image.fromarray(scored.example.masks[scored.index])
        truth = np.asarray(image.resize(own.shape[::-1], Image.NEAREST))
        assert metrics.overlap(own, truth) == (
            record["stretched_intersection"],
            record["stretched_union"],
        )


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_any_batch_and_either_mode_give_the_same_masks(gref, images, mode, count_flips):
    config, run, split, expected, params = gref
    changed = copy.deepcopy(config)
    changed.eval.images_per_device = images
    evaluator = Evaluator(run.model, changed, run.vocabulary, Parallel(mode))
    records = evaluator.collect(params, split, 0.5)
    flipped, pixels = count_flips(records, expected)
    # A program of another shape sums in another order: a logit near zero may change
    # sign.
    assert flipped <= pixels * 1e-5


def test_one_device_gives_the_masks_of_eight(gref, count_flips):
    config, run, split, expected, params = gref
    parallel = Parallel("jit", devices=jax.devices()[:1])
    assert parallel.num_local_devices == 1
    evaluator = Evaluator(run.model, config, run.vocabulary, parallel)
    one = parallel.replicate(jax.device_get(params))
    flipped, pixels = count_flips(evaluator.collect(one, split, 0.5), expected)
    assert flipped <= pixels * 1e-5


def test_all_thresholds_come_from_one_pass(shapes_workdir, opened):
    run, evaluator, params = opened(*shapes_workdir)
    split = run.data.scored("val")
    thresholds = (0.5, 0.35, 0.9)
    scored = sorted(
        evaluator.score(params, split, thresholds), key=lambda s: s.position
    )
    for i, threshold in enumerate(thresholds):
        alone = evaluator.collect(params, split, threshold)
        assert [s.records[i] for s in scored] == alone
        for s, record in zip(scored, alone, strict=True):
            mask = mask_util.decode(record["mask"]).astype(bool)
            np.testing.assert_array_equal(mask, to_mask(s.logits, threshold))


@pytest.mark.parametrize("mode", ["letterbox", "released"])
def test_a_letterbox_is_scored_stretched_too(gref_workdir, opened, mode):
    config, workdir = gref_workdir
    run, _, params = opened(config, workdir)
    changed = copy.deepcopy(config)
    changed.data.resize = mode
    evaluator = Evaluator(run.model, changed, run.vocabulary, run.parallel)
    every = list(evaluator.score(params, run.data.scored("val"), (0.5,)))
    assert every
    for scored in every:
        (record,) = scored.records
        assert "stretched_mask" not in record
        mask = mask_util.decode(record["mask"]).astype(bool)
        truth = scored.example.masks[scored.index]
        size = tuple(config.model.image_size)
        small = [preprocess.stretch_mask(m, size) for m in (mask, truth)]
        assert record["stretched_intersection"] == np.count_nonzero(small[0] & small[1])


def with_counts(split, counts):
    """Returns a split that repeats one image, with these numbers of expressions."""
    most = max(counts)
    record = dict(split.source[0])
    record["expressions"] = {
        name: np.resize(values, most) for name, values in record["expressions"].items()
    }
    sentences = np.resize(split.sentences[0], most).tolist()
    return splits.Split(
        split.name,
        [record] * len(counts),
        [sentences[:count] for count in counts],
        ["0"] * len(counts),
    )


def test_two_programs_transfer_little_more_than_they_use(
    shapes_workdir, opened, monkeypatch, compiled
):
    run, _, params = opened(*shapes_workdir)
    # As in ReferIt: six expressions per image on average, at most 45.
    counts = np.random.default_rng(0).geometric(1 / 6, 160).clip(1, 44).tolist()
    split = with_counts(run.data.scored("val"), [45, *counts])
    moved, real = [], jax.device_get

    def count(tree):
        moved.extend(x.nbytes for x in jax.tree.leaves(tree))
        return real(tree)

    monkeypatch.setattr(jax, "device_get", count)
    bound.cache_clear()  # Another test may have compiled the programs already.
    evaluator = Evaluator(run.model, run.config, run.vocabulary, run.parallel)
    before = len(compiled)
    records = evaluator.collect(params, split, 0.5)
    assert len(records) == 45 + sum(counts)
    height, width = evaluator._config.model.image_size
    rows, columns = (side // run.config.model.patch_size for side in (height, width))
    used = len(records) * 4 * (height * width + rows * columns)
    assert used <= sum(moved) <= 1.2 * used
    # One program encodes images, one segments; other counts of expressions reuse them.
    assert len(compiled) - before == 2
    evaluator.collect(params, with_counts(split, [3] * 9), 0.5)
    assert len(compiled) - before == 2


def test_the_sum_needs_no_encoded_mask(shapes_workdir, opened, monkeypatch):
    run, evaluator, params = opened(*shapes_workdir)
    split = run.data.scored("val")
    records = evaluator.collect(params, split, 0.35)

    def refuse(*_):
        raise AssertionError("work that no sum needs")

    monkeypatch.setattr("restr_jax.evaluation.evaluator.to_rle", refuse)
    monkeypatch.setattr(preprocess, "stretch_mask", refuse)
    oiou = evaluator.oiou(params, split, 0.35)
    assert oiou == metrics.cumulative_iou(records) > 0


def test_an_image_is_encoded_once(shapes_workdir, opened, monkeypatch):
    run, evaluator, params = opened(*shapes_workdir)
    encoded, real = [], evaluator._encode

    def encode(params, batch):
        encoded.append(len(batch["image"]))
        return real(params, batch)

    monkeypatch.setattr(evaluator, "_encode", encode)
    split = with_counts(run.data.scored("val"), [9, 2, 1, 30, 5, 5, 9, 1, 7, 7])
    assert len(evaluator.collect(params, split, 0.5)) == 76
    assert encoded == [8, 8]  # Eight devices; the last ones get padding.


def test_a_long_expression_is_scored_by_the_words_that_are_read(gref):
    config, _, _, records, _ = gref
    lengths = [r["length"] for r in records]
    assert max(lengths) <= config.data.max_words
    assert lengths[0] == min(len(records[0]["expression"].split()), 10)
