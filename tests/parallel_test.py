import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

from restr_jax import experiment
from restr_jax.data import pipeline
from restr_jax.data.loader import make_loader
from restr_jax.parallel import Parallel


def batch_of(run, size):
    loader = make_loader(run.config, run.data.scored("train"), run.vocabulary)
    stream = pipeline.train_batches(loader, size, seed=0, start_step=0, num_workers=0)
    batch = next(stream)
    stream.close()
    # Devices have different numbers of valid expressions: a mean of means would be
    # wrong.
    batch["valid"][:3] = False
    batch["valid"][5, 1:] = False
    return batch


@pytest.fixture(scope="module")
def start(tiny_config, tmp_path_factory):
    """Returns a starter of runs that drop half of each encoder's last branches."""

    def make(rate=0.5, **changes):
        config = tiny_config("shapes")
        config.model.fusion.kind = "vme"  # One encoder, so its last layer is dropped.
        config.model.vision.num_layers = 2
        config.model.vision.drop_path_rate = config.model.fusion.drop_path_rate = rate
        config.update(changes)
        folder = str(tmp_path_factory.mktemp("run"))
        return experiment.start(config, folder, training=True)

    return make


@pytest.fixture(scope="module")
def one(start):
    """Runs five steps on one device: the batch, losses, parameters and a count."""
    run = start()
    batch = batch_of(run, 16)
    return batch, *five_steps(run, None, batch)


def five_steps(run, parallel, batch):
    """Returns losses, the last parameters and the last step's count."""
    step = runs.step_of(run.model, run.optimizer, run.config)
    state = jax.device_get(run.fresh_state())
    if parallel is None:
        take, fed = jax.jit(lambda s, b: step(s, b, None)), batch
    else:
        abstract = parallel.describe(jax.eval_shape(lambda: state))
        take = runs.compile_once(parallel, step, abstract)
        state, fed = parallel.place(state), parallel.feed(batch)
    losses = []
    for _ in range(5):
        state, sums = take(state, fed)
        losses.append(float(sums["loss"]))
    return losses, state.params, float(sums["count"])


def assert_close_params(ours, theirs):
    differences = jax.tree.map(
        lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), ours, theirs
    )
    # A key bias has zero gradient except for rounding, which Adam scales up to full
    # updates; the bias has no effect.
    for path, difference in jax.tree_util.tree_leaves_with_path(differences):
        if not jax.tree_util.keystr(path).endswith("['qkv']['bias']"):
            assert difference < 1e-5, jax.tree_util.keystr(path)


@pytest.mark.parametrize(("mode", "fsdp"), [("jit", 1), ("pmap", 1), ("jit", 4)])
def test_eight_devices_equal_one(start, one, mode, fsdp, monkeypatch):
    # The default would shard none of this small model's arrays.
    monkeypatch.setattr("restr_jax.parallel._LEAST_SHARDED", 64)
    batch, losses, params, count = one
    parallel = Parallel(mode, fsdp)
    assert parallel.num_devices == 8
    many = five_steps(start(), parallel, batch)
    # Devices sum in another order. Float32 rounding grows over five updates, which
    # divide by the root of the squared gradient.
    np.testing.assert_allclose(many[0], losses, rtol=1e-5)
    assert many[2] == count == batch["valid"].sum()
    assert_close_params(many[1], params)
    qkv = many[1]["vision"]["encoder"]["block_0"]["attention"]["qkv"]["kernel"]
    held = {shard.data.size for shard in qkv.addressable_shards}
    assert held == {qkv.size // fsdp}
    whole = parallel.to_score(many[1])
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(whole))
    jax.tree.map(np.testing.assert_array_equal, whole, many[1])


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_training_does_not_depend_on_the_order_of_rows(start, one, parts):
    # Devices or processes may cause such an order; pmap sees blocks of rows.
    batch, losses, params, _ = one
    order = np.random.default_rng(0).permutation(16)
    mixed = {name: array[order] for name, array in batch.items()}
    run = start(accumulate_steps=parts, batch_size=16)
    other = five_steps(run, Parallel("pmap"), mixed)
    np.testing.assert_allclose(other[0], losses, rtol=1e-5)
    assert_close_params(other[1], params)


def test_accumulation_and_recomputed_layers_change_no_result(start, one):
    # Recomputing must repeat the draws of stochastic depth.
    batch, losses, params, count = one
    run = start(accumulate_steps=4, batch_size=32, model={"remat": "layer"})
    parts = five_steps(run, Parallel("jit", devices=jax.devices()[:4]), batch)
    np.testing.assert_allclose(parts[0], losses, rtol=1e-5)
    assert parts[2] == count
    assert_close_params(parts[1], params)


def test_random_draws_need_no_communication_between_devices(start):
    def collectives(rate):
        run, parallel = start(rate), Parallel("jit")
        batch = batch_of(run, 16)
        step = runs.step_of(run.model, run.optimizer, run.config)
        state = run.abstract_state
        take = runs.compile_once(parallel, step, state)  # As traced above.
        lowered = take.lower(state, parallel.feed(batch))
        text = lowered.compile().as_text()
        names = ("all-reduce", "all-gather", "collective-permute", "all-to-all")
        return {name: text.count(f" {name}(") for name in names}

    without = collectives(0.0)
    assert without["all-reduce"]
    assert collectives(0.5) == without


def test_bfloat16_trains_float32_parameters(start, one):
    batch, losses, _, _ = one
    half = five_steps(start(dtype="bfloat16"), None, batch)
    # 8 bits of mantissa.
    np.testing.assert_allclose(half[0], losses, rtol=1e-2)
    assert {x.dtype for x in jax.tree.leaves(half[1])} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, "config.batch_size is 6, which 8 devices"),
        (
            {"accumulate_steps": 3},
            "=3 parts; .* multiple of 24",
        ),
        ({"accumulate_steps": 0}, "accumulate_steps is 0; .* at least 1"),
        ({"fsdp": 3}, "config.fsdp is 3 .* divide the 8 devices"),
        ({"fsdp": 2, "parallel": "pmap"}, "1 with pmap"),
        ({"dtype": "float16"}, "Unknown config.dtype 'float16'"),
        ({"model": {"remat": "all"}}, "Unknown config.model.remat 'all'"),
    ],
)
def test_unsupported_device_settings_are_refused(start, changes, message):
    with pytest.raises(ValueError, match=message):
        start(**changes)
