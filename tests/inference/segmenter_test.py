import json

import jax
import numpy as np
import pytest
from compiled import apply
from PIL import Image

import restr_jax
from restr_jax.data import preprocess
from restr_jax.data.data_sets import DataSets
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.inference import predict, segmenter
from restr_jax.inference.segmenter import Segmenter
from restr_jax.parallel import Parallel
from restr_jax.workdir import model_files
from tfds_builders.shapes import scenes


@pytest.fixture(scope="module")
def shipped():
    return restr_jax.load("shapes")


@pytest.fixture(scope="module")
def scene():
    """Returns a scene with sides four times the network's input."""
    return scenes.make_scene(np.random.default_rng(7), 256, 9)


def test_the_shipped_model_finds_the_described_object(shipped):
    intersection = union = 0
    for seed in range(10):
        made = scenes.make_scene(np.random.default_rng((9, seed)), 64, 9)
        image = shipped.encode(made.image)
        found = image.segment([expression.words for expression in made.expressions])
        for expression, prediction in zip(made.expressions, found, strict=True):
            truth = made.shapes[expression.target].mask(64)
            intersection += (truth & prediction.mask).sum()
            union += (truth | prediction.mask).sum()
    # The score is 0.92 on the test split of `shapes`; these are 90 expressions of other
    # scenes.
    assert intersection / union > 0.85


def test_predictions_have_the_images_own_size(shipped, scene):
    pixels = scene.image[:200]
    image = shipped.encode(pixels)
    one = image.segment("large circle")
    assert one.mask.shape == one.probability.shape == (200, 256)
    assert one.mask.dtype == bool and one.probability.dtype == np.float32
    assert one.patch_probability.shape == (8, 8)
    assert 0.0 <= one.probability.min() and one.probability.max() <= 1.0
    np.testing.assert_array_equal(one.mask, one.logits >= 0)
    assert one.words == ("large", "circle") and one.unknown == ()
    assert one.word_attention.shape == (2,)
    assert one.word_attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert one.score == pytest.approx(one.probability[one.mask].mean())
    several = image.segment(["large circle", "the zebra left of the square"])
    np.testing.assert_array_equal(several[0].logits, one.logits)
    assert several[1].unknown == ("zebra",)


def test_paths_pil_images_and_arrays_are_the_same(shipped, scene, tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(scene.image).save(path)
    several = shipped.encode([path, str(path), Image.open(path), scene.image])
    expected = shipped.encode(scene.image).segment("topmost square").logits
    for image in several:
        np.testing.assert_allclose(
            image.segment("topmost square").logits, expected, atol=1e-4
        )


def test_another_number_of_expressions_compiles_nothing(scene, compiled):
    segmenter.bound.cache_clear()  # Another test may have compiled the same.
    model = restr_jax.load("shapes")
    model.encode(scene.image).segment("square")
    before = len(compiled)
    assert before >= 2
    model.encode(scene.image[:128]).segment(["circle", "red square", "triangle"])
    assert len(compiled) == before


def test_the_threshold_applies_to_the_probability(shipped, scene):
    image = shipped.encode(scene.image)
    low, high = (image.segment("square", threshold=t) for t in (0.1, 0.9))
    assert low.mask.sum() > high.mask.sum()
    np.testing.assert_array_equal(low.probability >= 0.1, low.mask)
    with pytest.raises(ValueError, match="threshold is 1.5"):
        image.segment("square", threshold=1.5)


def test_the_score_of_an_empty_mask_is_its_highest_probability(shipped, scene):
    image = shipped.encode(scene.image)
    found = image.segment("square")
    assert found.found and found.score >= 0.5
    nothing = image.segment("square", threshold=0.999999999)
    assert not nothing.found and not nothing.mask.any()
    assert nothing.score == pytest.approx(found.probability.max())
    assert nothing.score <= nothing.threshold


def test_a_loaded_workdir_reproduces_the_scores(trained):
    config, folder = trained
    model = restr_jax.load(folder, checkpoint="8")
    split = DataSets(config.data).scored("val")
    parallel = Parallel("jit", devices=jax.devices()[:1])
    trained = model.trained
    evaluator = Evaluator(trained.model, config, trained.vocabulary, parallel)
    params = parallel.replicate(trained.params)
    every = list(evaluator.score(params, split, (0.5,)))
    assert len(every) == 72
    for scored in every:
        image = model.encode(scored.example.image)
        prediction = image.segment(scored.example.sentences[scored.index])
        # Other batch sizes may round differently.
        np.testing.assert_allclose(prediction.logits, scored.logits, atol=1e-4)


def test_best_latest_steps_and_checkpoints_are_found(trained):
    _, folder = trained
    scored = [
        json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    key = "shapes:val/oiou"
    best = max((x[key], x["step"]) for x in scored if key in x)
    for name, step in (("best", best[1]), ("latest", 8), ("4", 4)):
        origin = model_files.read(folder, name).origin
        assert origin.endswith(f"checkpoints/{step}")
    assert model_files.read(folder / "checkpoints" / "4").origin.endswith("4")
    with pytest.raises(FileNotFoundError, match="Unknown checkpoints '5'"):
        model_files.read(folder, "5")


def test_weights_are_stored_in_half_the_bytes_and_read_back(tmp_path):
    read = model_files.read("shapes")
    read = read._replace(params=jax.tree.map(lambda x: x * 1.001, read.params))
    model_files.write(read, tmp_path / "small")
    count = sum(x.size for x in jax.tree.leaves(read.params))
    size = (tmp_path / "small" / "weights.safetensors").stat().st_size
    assert 2 * count < size < 2 * count + 20_000
    again = model_files.read(tmp_path / "small")
    assert again.vocabulary.words == read.vocabulary.words
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a.astype(np.float16), b),
        read.params,
        again.params,
    )


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no trained model in"):
        restr_jax.load(tmp_path / "absent")
    read = model_files.read("shapes")
    at = tmp_path / "model"
    model_files.write(read, at)
    weights = (at / "weights.safetensors").read_bytes()
    (at / "weights.safetensors").write_bytes(weights[:1000])
    with pytest.raises(ValueError, match="weights.safetensors is damaged"):
        restr_jax.load(at)
    (at / "weights.safetensors").write_bytes(
        weights.replace(b"restr_jax weights 1", b"restr_jax weights 9")
    )
    with pytest.raises(ValueError, match="has the format 'restr_jax weights 9'"):
        restr_jax.load(at)
    (at / "weights.safetensors").write_bytes(weights)
    config = json.loads((at / "config.json").read_text())
    del config["model"]["fusion"]["kind"]
    (at / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"not fit this version of restr_jax.*kind"):
        restr_jax.load(at)


def test_weights_outside_the_float16_range_are_named(tmp_path):
    read = model_files.read("shapes")
    read.params["fusion"]["seed"] = np.full((1, 128), 1e6, np.float32)
    with pytest.raises(ValueError, match="fusion/seed holds values that are not fin"):
        model_files.write(read, tmp_path / "small")


def test_letterbox_margins_are_not_part_of_the_answer(shipped):
    config = shipped.trained.config.copy_and_resolve_references()
    config.data.resize = "letterbox"
    model = Segmenter(shipped.trained._replace(config=config))
    wide = scenes.make_scene(np.random.default_rng(7), 64, 9).image[24:40]
    logits = model.encode(wide).segment("square").logits
    assert logits.shape == (16, 64)
    # The same, letterboxed by hand; grey is 127.5, which bytes cannot represent.
    fitted = preprocess.fit_image(wide, (64, 64), "letterbox")
    trained = model.trained
    tokens = trained.vocabulary.encode("square", 10)
    output = apply(
        trained.model, {"params": trained.params}, fitted[None], tokens[None, None]
    )
    np.testing.assert_allclose(logits, output.pixel_logits[0, 0, 24:40], atol=1e-4)


def test_predict_matches_the_documented_api(shipped, scene, tmp_path):
    Image.fromarray(scene.image).save(tmp_path / "a.png")
    requests = predict.find_requests([str(tmp_path / "a.png")], ["red square"])
    (row,) = predict.predict(shipped, requests, str(tmp_path / "out"), 0.5)
    mask = np.asarray(Image.open(tmp_path / "out" / "a-1.png")) > 0
    expected = shipped.encode(scene.image).segment("red square")
    np.testing.assert_array_equal(mask, expected.mask)
    assert row["score"] == pytest.approx(expected.score)
