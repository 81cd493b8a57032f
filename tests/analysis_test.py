import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import init

from configs import common
from restr_jax import analysis, experiment
from restr_jax.models import build_model
from restr_jax.models.layers import SelfAttention

VOCAB = 11
TOKENS = jnp.array([[[3, 4, 0, 0, 0], [5, 6, 7, 8, 9]]])


@functools.cache
def small(kind, **fusion):
    """Returns a model of 4 x 4 patches with random parameters, and a batch."""
    config = common.get_config("tiny").model
    config.image_size, config.patch_size = (32, 32), 8
    for part in ("vision", "language", "fusion"):
        config[part].width, config[part].mlp_dim = 16, 32
    config.vision.num_layers, config.decoder = 1, False
    config.fusion.update(kind=kind, **fusion)
    model = build_model(config, VOCAB)
    image = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    params = init(model, image, TOKENS, seed=0)["params"]
    return model, params, {"image": image, "tokens": TOKENS}


@functools.cache
def predict(model):
    return jax.jit(functools.partial(analysis.predict_attention, model))


def keystr(path):
    return jax.tree_util.keystr(path, simple=True, separator="/")


def seed_shares(model, params, batch):
    _, attention = predict(model)(params, batch)
    return np.asarray(analysis.shares(attention, batch["tokens"] != 0))


def test_attention_is_summed_over_each_kind_of_token():
    # Four patches, three words (one is padding), and the seed.
    attention = jnp.array([[0.1, 0.2, 0.0, 0.1, 0.25, 0.05, 0.2, 0.1]])
    shares = analysis.shares(attention, jnp.array([True, False, True]))
    np.testing.assert_allclose(shares, [[0.4, 0.45, 0.05, 0.1]], rtol=1e-6)


def test_uniform_attention_is_shared_by_the_number_of_tokens():
    model, params, batch = small("vme")
    # Without queries, all logits are equal.
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 0 * x if "qkv" in keystr(path) else x, params
    )
    shares = seed_shares(model, params, batch)
    two_words = [16 / 19, 2 / 19, 0, 1 / 19]
    five_words = [16 / 22, 5 / 22, 0, 1 / 22]
    assert shares.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(shares[0, 0], [two_words] * 4, rtol=1e-6)
    np.testing.assert_allclose(shares[0, 1], [five_words] * 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "fusion", "layers"),
    [
        ("vme", {}, 4),
        ("vme", {"share_weights": True}, 4),
        ("cme", {"num_layers": 6}, 3),
        ("ime", {"share_weights": True}, 2),
    ],
)
def test_shares_are_computed_for_every_layer_of_the_seed(kind, fusion, layers):
    shares = seed_shares(*small(kind, **fusion))
    assert shares.shape == (1, 2, layers, 4)
    np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-5)
    assert (shares[..., 2] == 0).all()  # Padding is masked.
    assert ((shares[..., 0] > 0) == (kind == "vme")).all()
    # The layers differ, so swapped layers would be noticed.
    assert len(np.unique(shares[0, 0, :, 1])) == layers


@pytest.mark.slow
def test_layers_come_in_the_order_of_their_application():
    model, params, batch = small("vme", num_layers=11)
    last = "block_10/attention/qkv"
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 0 * x if last in keystr(path) else x, params
    )
    shares = seed_shares(model, params, batch)
    uniform = np.isclose(shares[0, 0, :, 0], 16 / 19, rtol=1e-6)
    assert uniform.tolist() == [False] * 10 + [True]


def test_kept_weights_are_those_of_the_layer():
    layer = SelfAttention(num_heads=2, init_std=0.5)
    x = jax.random.normal(jax.random.key(0), (3, 8))
    variables = layer.init(jax.random.key(1), x, None)
    assert set(variables) == {"params"}
    output, kept = layer.apply(variables, x, None, mutable=["intermediates"])
    (weights,) = kept["intermediates"]["weights"]
    params = variables["params"]
    values = x @ params["qkv"]["kernel"][:, 16:]
    heads = np.concatenate(
        [weights[m] @ values[:, 4 * m : 4 * m + 4] for m in range(2)], axis=-1
    )
    np.testing.assert_allclose(output, heads @ params["out"]["kernel"], atol=1e-5)


def test_keeping_attention_does_not_change_the_output():
    model, params, batch = small("vme")

    @jax.jit
    def plain(params, batch):
        return model.apply(
            {"params": params}, batch["image"], batch["tokens"], deterministic=True
        )

    kept, _ = predict(model)(params, batch)
    for one, other in zip(plain(params, batch), kept, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def workdir(tiny_config, tmp_path_factory):
    """Returns the config and workdir of an untrained VME with a checkpoint."""
    config = tiny_config("shapes")
    config.model.fusion.kind, config.model.fusion.num_layers = "vme", 4
    folder = str(tmp_path_factory.mktemp("vme"))
    run = experiment.start(config, folder, training=True)
    checkpoints = run.checkpoints()
    checkpoints.save(4, run.fresh_state(), 0.5)
    checkpoints.close()
    return config, folder


@pytest.mark.slow  # Takes half a minute: it compiles with every attention kept.
def test_analysis_writes_shares_and_pictures_to_the_workdir(workdir):
    config, folder = workdir
    result = analysis.analyse_workdir(config, folder, "test", limit=5)
    assert (result["split"], result["step"]) == ("shapes:test", 4)
    assert result["num_expressions"] == 5
    assert len(result["layers"]) == 4
    for row in result["layers"]:
        assert sum(row.values()) == pytest.approx(1.0, abs=1e-6)
        # An untrained seed attends almost uniformly to 64 patches and a few words.
        assert row["vision"] > 0.8 > 0.2 > row["language"] > row["padding"] == 0.0
    run = experiment.start(config, folder, training=False)
    written = run.workdir / "analysis"
    assert json.loads((written / "shares-shapes-test-4.json").read_text()) == result
    assert len(list(written.glob("shapes-test-4-*.png"))) == config.eval.num_figures
    lines = analysis.describe(result).splitlines()
    assert lines[-4].endswith("| 82.4 | 16.8 |") and len(lines) == 8

    params, split = run.fresh_state().params, run.data.scored("test")
    found = itertools.islice(analysis.analyse(run, params, split), 5)
    mean = np.mean([analysed.shares for analysed in found], axis=0)
    rows = [list(row.values()) for row in result["layers"]]
    np.testing.assert_allclose(rows, mean, rtol=1e-5)


def test_an_attention_map_covers_the_image_in_the_input():
    # 40 x 80 in 60 x 60: scaled to 30 x 60, with 15 empty rows above and below.
    assert analysis._extent((40, 80), (60, 60), "stretch") == (0, 80, 40, 0)
    assert analysis._extent((40, 80), (60, 60), "letterbox") == (0, 80, 60, -20)


def test_an_unknown_split_is_refused(tiny_config, tmp_path):
    config = tiny_config("shapes")
    experiment.start(config, str(tmp_path), training=True)
    with pytest.raises(ValueError, match="has no split 'testA'"):
        analysis.analyse_workdir(config, str(tmp_path), "testA")
