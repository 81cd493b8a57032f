import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from configs import common, gref
from restr_jax.models import build_model, parameters
from restr_jax.pretrained import released


@pytest.fixture(scope="module")
def published(testdata):
    path = testdata / "golden" / "released_full_shapes.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def tiny(testdata):
    """Returns a complete state dict at small size."""
    with np.load(testdata / "golden" / "released_tiny.npz") as file:
        arrays = {k.removeprefix("param/"): file[k] for k in file if "param/" in k}
    arrays = {k: a for k, a in arrays.items() if not k.startswith("step/")}
    return arrays | {"encoder_v.head.weight": np.zeros((1000, 48), np.float32)}


def load(arrays, **changes):
    heads = {"vision_heads": 3, "language_heads": 3, "fusion_heads": 3}
    return released.load(arrays, **(heads | changes))


def empty(shapes):
    """Returns arrays that take no memory."""
    return {k: np.broadcast_to(np.float32(0), s) for k, s in shapes.items()}


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("default", {}),
        ("shared", {"fusion.share_weights": True}),
        ("no_decoder", {"decoder": False}),
    ],
)
def test_the_full_model_has_the_published_names_and_shapes(published, form, changes):
    shapes = published[form]["state_dict_shapes"]
    config, params = released.load(empty(shapes))
    ours = gref.get_config("released").model
    ours.update_from_flattened_dict(changes)
    assert config.to_dict() == ours.to_dict()
    back = released.to_released(params)
    assert {name: list(array.shape) for name, array in back.items()} == shapes
    total = published[form]["parameter_counts"]["total"]
    assert sum(array.size for array in back.values()) == total
    assert form != "default" or total == 129_759_472


def test_initial_weights_have_the_published_spread(published):
    config = gref.get_config("released").model
    # One layer per part has all kinds of weights.
    for part in ("vision", "language"):
        config[part].num_layers = 1
    config.fusion.num_layers = 2
    model = build_model(config, vocab_size=4)
    params = parameters.init(model, max_words=20, seed=0)
    ours = released.to_released(params)
    expected = published["init_statistics_default"]
    assert len(expected) == 14
    for name, theirs in expected.items():
        size, variance = ours[name].size, theirs["std"] ** 2
        if theirs["absmax"] == 2.0:
            # One published draw hit the bound, 100 deviations away.
            variance -= 2.0**2 / size
        # Four standard deviations of the spread of that many draws, in both models.
        rtol = 4 * np.sqrt(1 / size) + 1e-3
        np.testing.assert_allclose(
            ours[name].std(), np.sqrt(variance), rtol=rtol, err_msg=name
        )
        # A normal truncated at two deviations ends before 2.3 of its own deviations, a
        # uniform distribution at 1.8.
        far = [np.abs(ours[name]).max() / ours[name].std()]
        far.append(theirs["absmax"] / np.sqrt(variance))
        assert len({x > 2.5 for x in far}) == 1, (name, far)


def test_weights_survive_a_round_trip(tiny):
    config, params = load(tiny)
    back = released.to_released(params)
    assert set(back) == set(tiny)
    for name, array in tiny.items():
        if not name.startswith("encoder_v.head"):
            np.testing.assert_array_equal(back[name], array)
            assert back[name].flags.c_contiguous
    again = released.from_released(back, params)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert config.image_size == (64, 64) and config.patch_size == 16


def test_half_precision_and_a_wrapped_module_are_read(tiny):
    _, params = load(tiny)
    wrapped = {f"module.{k}": a.astype(np.float16) for k, a in tiny.items()}
    _, half = load(wrapped)
    for one, other in zip(jax.tree.leaves(half), jax.tree.leaves(params), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_one_call_reads_a_file(tiny, tmp_path, write_pth, suffix):
    path = tmp_path / f"restr{suffix}"
    if suffix == ".npz":
        np.savez(path, **tiny)
    elif suffix == ".safetensors":
        safetensors.numpy.save_file(tiny, path)
    else:
        path = write_pth(tiny)
    config, params = load(path)
    expected_config, expected = load(tiny)
    assert config.to_dict() == expected_config.to_dict()
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load(str(tmp_path / "absent.npz"))


def test_all_mismatches_are_reported_at_once(tiny):
    wrong = dict(tiny)
    del wrong["encoder_v.norm.bias"], wrong["fusion_module.seed_emb"]
    wrong["encoder_l.lang_norm.weight"] = np.zeros(7, np.float32)
    wrong["optimizer"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError) as error:
        load(wrong)
    message = str(error.value)
    assert "2 missing:" in message and "encoder_v.norm.bias (48,)" in message
    assert "fusion_module.seed_emb (1, 1, 48)" in message
    assert "1 not expected:\n  optimizer (3,)" in message
    assert "encoder_l.lang_norm.weight (7,), not (48,)" in message


def test_other_weights_are_refused(tiny):
    with pytest.raises(ValueError, match=r"a state dict .*\n.*proj.weight: missing"):
        load({"layer.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ValueError, match=r"pos_embed: \(17, 48\)"):
        load(tiny | {"encoder_v.pos_embed": tiny["encoder_v.pos_embed"][0]})
    words = tiny["encoder_l.embedding.weight"] + 1
    with pytest.raises(ValueError, match="Row 0 of encoder_l.embedding.weight"):
        load(tiny | {"encoder_l.embedding.weight": words})
    with pytest.raises(ValueError, match="cannot be split into 5 heads"):
        load(tiny, vision_heads=5)


def test_a_position_table_that_is_not_square_needs_its_size(tiny):
    oblong = tiny | {"encoder_v.pos_embed": np.zeros((1, 16, 48), np.float32)}
    with pytest.raises(ValueError, match="has 15 patches, which is not a square"):
        load(oblong)
    config, params = load(oblong, image_size=(48, 80))
    assert params["vision"]["positions"].shape == (1, 16, 48)
    assert config.image_size == (48, 80)


def test_a_model_of_the_paper_preset_has_no_released_layout():
    model = build_model(common.get_config("tiny").model, 5)
    shapes = parameters.abstract(model, 4)
    with pytest.raises(ValueError) as error:
        released.to_released(jax.tree.map(lambda x: np.zeros(x.shape), shapes))
    message = str(error.value)
    assert "Only models of the preset `released`" in message
    for path in ("vision/class_token", "language/project/kernel", "fusion/patch_map"):
        assert path in message
