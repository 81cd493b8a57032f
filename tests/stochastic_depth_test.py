"""Stochastic depth drops the same on any devices and in any parts of a batch."""

import jax
import numpy as np
import pytest
from parallel_test import assert_close_params, batch_of, five_steps

from restr_jax import experiment
from restr_jax.parallel import Parallel
from restr_jax.train_step import make_train_step


@pytest.fixture(scope="module")
def start(tiny_config, tmp_path_factory):
    """Starts a run that drops half of the last branches of each encoder."""

    def make(rate=0.5, **changes):
        config = tiny_config("shapes")
        config.model.vision.drop_path_rate = config.model.fusion.drop_path_rate = rate
        config.update(changes)
        folder = str(tmp_path_factory.mktemp("run"))
        return experiment.start(config, folder, training=True)

    return make


@pytest.fixture(scope="module")
def whole(start):
    """Five steps of one device: the batch, losses, parameters and a count."""
    run = start()
    batch = batch_of(run, 16)
    return batch, five_steps(run, None, batch)


def assert_same(run, parallel, batch, one):
    other = five_steps(run, parallel, batch)
    # The tolerances of parallel_test.py: sums in another order.
    np.testing.assert_allclose(other[0], one[0], rtol=1e-5)
    assert_close_params(other[1], one[1])


def test_eight_devices_drop_what_one_drops(start, whole):
    assert_same(start(), Parallel("jit"), *whole)


@pytest.mark.parametrize("parts", [1, 2])
def test_rows_in_any_order_are_dropped_alike(start, whole, parts):
    # As the order of devices or of processes may have it; pmap sees blocks of rows.
    batch, one = whole
    order = np.random.default_rng(0).permutation(16)
    mixed = {name: array[order] for name, array in batch.items()}
    run = start(accumulate_steps=parts, batch_size=16)
    assert_same(run, Parallel("pmap"), mixed, one)


def test_four_parts_and_recomputed_layers_drop_the_same(start, whole):
    run = start(accumulate_steps=4, batch_size=32, model={"remat": "layer"})
    assert_same(run, Parallel("jit", devices=jax.devices()[:4]), *whole)


def test_draws_cost_no_message_between_devices(start):
    def collectives(rate):
        run, parallel = start(rate), Parallel("jit")
        batch = batch_of(run, 16)
        step = make_train_step(run.model, run.optimizer, run.config)
        state = run.abstract_state()
        lowered = parallel.train_step(step, state).lower(state, parallel.feed(batch))
        text = lowered.compile().as_text()
        names = ("all-reduce", "all-gather", "collective-permute", "all-to-all")
        return {name: text.count(f" {name}(") for name in names}

    without = collectives(0.0)
    assert without["all-reduce"]
    assert collectives(0.5) == without
