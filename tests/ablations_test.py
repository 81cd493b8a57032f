import functools
import importlib
import json
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from benchmarks import ablations as benchmark
from configs import common, gref, shapes
from restr_jax import train
from restr_jax.models import build_model

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = ROOT / "configs" / "ablations"
# Kind, layers, shared, decoder, side of the input, and IoU or G as printed.
ROWS = {
    "vme_4": ("vme", 4, False, False, 480, 0.5127),
    "ime_4": ("ime", 4, False, False, 480, 0.4589),
    "cme_2": ("cme", 2, False, False, 480, 0.4812),
    "cme_2_decoder": ("cme", 2, False, True, 480, 0.4843),
    "cme_4": ("cme", 4, False, False, 480, 0.5281),
    "cme_4_decoder": ("cme", 4, False, True, 480, 0.5448),
    "cme_4_shared": ("cme", 4, True, False, 480, 0.5279),
    "cme_4_shared_decoder": ("cme", 4, True, True, 480, 0.5407),
    "cme_6": ("cme", 6, False, False, 480, 0.5284),
    "cme_6_decoder": ("cme", 6, False, True, 480, None),
    "cme_6_shared": ("cme", 6, True, False, 480, 0.5259),
    "table_5_cme": ("cme", 4, False, True, 320, 52.29),
    "table_5_cme_shared": ("cme", 4, True, True, 320, 52.29),
}
LAYER = 7_087_872  # Parameters of a layer of ViT-B.


def module(name):
    return importlib.import_module(f"configs.ablations.{name}")


def parameters_of(config):
    """Returns the shapes of fusion and decoder, after encoders of one layer."""
    config = config.copy_and_resolve_references()
    config.model.vision.num_layers = config.model.language.num_layers = 1
    model = build_model(config.model, vocab_size=10)
    init = functools.partial(model.init, jax.random.key(0), deterministic=True)
    image = jax.ShapeDtypeStruct((1, *config.model.image_size, 3), jnp.float32)
    words = (1, 1, config.data.max_words)
    return jax.eval_shape(init, image, jax.ShapeDtypeStruct(words, jnp.int32))["params"]


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_rows_and_config_files_correspond():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert files == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_built_with_the_papers_number_of_parameters(name):
    kind, layers, shared, decoder, side, printed = ROWS[name]
    config = module(name).get_config()
    fusion = config.model.fusion
    assert (fusion.kind, fusion.num_layers) == (kind, layers)
    assert fusion.share_weights == shared
    assert config.model.image_size == (side, side)
    params = parameters_of(config)
    assert ("decoder" in params) == decoder
    encoders = {"visual_linguistic", "linguistic_seed"} & set(params["fusion"])
    assert len(encoders) == (1 if kind == "vme" else 2)
    owned = len(encoders) if shared else layers
    counted = sum(count(params["fusion"][encoder]) for encoder in encoders)
    assert counted == owned * LAYER
    if layers == 4:
        assert round(counted / 1e6, 2) == (14.18 if shared else 28.35)
    (*_, said) = re.findall(r"\d+\.\d\d+", module(name).__doc__) or ["nan"]
    assert float(said) == printed or (printed is None and said == "nan")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_changes_shapes_as_it_changes_gref(name):
    kind, layers, shared, decoder, _, _ = ROWS[name]
    config = module(name).get_config("shapes")
    fields = ("kind", "num_layers", "share_weights")
    assert tuple(config.model.fusion[f] for f in fields) == (kind, layers, shared)
    assert ("decoder" in parameters_of(config)) == decoder
    # All other values equal those of the other rows, since the rows are compared.
    plain = shapes.get_config()
    for field in fields:
        config.model.fusion[field] = plain.model.fusion[field]
    config.model.decoder = plain.model.decoder
    config.loss.patch_weight = plain.loss.patch_weight
    assert config.to_dict() == plain.to_dict()


def test_four_layers_with_the_decoder_are_the_papers_model():
    assert module("cme_4_decoder").get_config().to_dict() == gref.get_config().to_dict()


@pytest.mark.parametrize("name", ROWS)
def test_a_row_sets_only_declared_keys(name):
    def keys(config):
        return {k: keys(v) if isinstance(v, dict) else None for k, v in config.items()}

    declared = keys(common.get_config().to_dict())
    assert keys(module(name).get_config().to_dict()) == declared


def test_words_reach_the_experiment_that_a_row_changes():
    get_config = module("vme_4").get_config
    assert get_config("tiny,umd").data.dataset == "gref/umd"
    assert get_config("tiny").model.vision.width == 128
    assert get_config("shapes,long").model.image_size == (64, 64)
    assert get_config("long,shapes").model.fusion.kind == "vme"
    for words in ("long", "shapes,umd"):
        with pytest.raises(ValueError, match="choose at most one of each"):
            get_config(words)


def test_the_committed_table_matches_the_committed_results():
    folder = ROOT / "benchmarks"
    results = json.loads((folder / "results" / "ablations.json").read_text())
    assert len(results["runs"]) == 15 and results["minutes"] <= 60
    page = (folder / "ablations.md").read_text()
    for table in benchmark.describe(results["runs"]).split("\n\n"):
        assert table in page


def test_compared_runs_differ_only_in_their_variant():
    made = [benchmark.make_config(v, 1, 400, "data") for v in benchmark.VARIANTS]
    different = set()
    for config in made:
        flat = config.to_dict() | {"model": config.model.to_dict()}
        first = made[0].to_dict()
        different |= {k for k in flat if flat[k] != first[k]}
    # Without a decoder there is no patch loss.
    assert different == {"model", "loss"}
    assert {config.seed for config in made} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vme_4", "ime_4", "cme_4_shared_decoder"])
def test_a_row_trains_on_shapes(name, shapes_dir, tmp_path):
    config = module(name).get_config("shapes")
    config.data.data_dir = shapes_dir
    config.batch_size = 8
    config.optimizer.total_steps = 60
    config.optimizer.warmup_steps = 10
    config.log_every_steps = config.checkpoint_every_steps = 20
    config.eval.every_steps = 60
    config.eval.shuffled_text = False
    (row,) = train.train_and_evaluate(config, str(tmp_path))
    assert row["num_expressions"] == 72
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [x["pixel_loss"] for x in map(json.loads, lines) if "pixel_loss" in x]
    assert losses[-1] < losses[0]
