import json

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax import export as jax_export

from restr_jax.export import artifact, stablehlo
from restr_jax.inference.segmenter import Segmenter
from restr_jax.workdir import model_files
from tfds_builders.shapes import scenes


def test_both_programs_support_all_platforms_and_contain_no_weights(small, exported):
    folder = exported("stablehlo")
    for name in ("encode", "segment"):
        content = bytearray((folder / f"{name}.stablehlo").read_bytes())
        assert jax_export.deserialize(content).platforms == ("cpu", "cuda", "tpu")
    # A word table that is a megabyte larger leaves the programs unchanged.
    model = small.model.clone(language=small.model.language.clone(vocab_size=20_000))
    weights = flatten_dict(jax.device_get(small.params), sep="/")
    weights["language/words/embedding"] = np.zeros((20_000, 16), np.float32)
    programs = stablehlo._programs(small._replace(model=model), weights)
    for name, program in programs.items():
        size = (folder / f"{name}.stablehlo").stat().st_size
        assert abs(len(program.serialize()) - size) < 1_000


def test_weights_are_stored_once_and_unchanged(small, exported):
    with np.load(exported("stablehlo") / "weights.npz") as weights:
        stored = dict(weights)
    expected = flatten_dict(jax.device_get(small.params), sep="/")
    assert stored.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(stored[name], array)


def test_masks_match_those_of_the_package(tmp_path):
    trained = model_files.read("shapes")
    stablehlo.export(trained, tmp_path)
    made = scenes.make_scene(np.random.default_rng(7), 256, 9)
    pixels, sentences = made.image[:200], ["large circle", "topmost square"]
    expected = Segmenter(trained, "float32").encode(pixels).segment(sentences)
    given = artifact.load(tmp_path).segment(pixels, sentences)
    for want, prediction in zip(expected, given, strict=True):
        assert want.mask.any()
        assert prediction.mask.shape == prediction.probability.shape == (200, 256)
        np.testing.assert_allclose(prediction.probability, want.probability, atol=0.02)
        common, union = want.mask & prediction.mask, want.mask | prediction.mask
        assert common.sum() / union.sum() > 0.99
    found = json.loads((tmp_path / "parity.json").read_text())
    assert found["masks"]["iou"] > 0.99
