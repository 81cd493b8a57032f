"""Device orders of TPUs, which differ from the numbering; eight fake devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from restr_jax import parallel
from restr_jax.parallel import Parallel

# Orders that jax.make_mesh gives, from mesh_utils.create_device_mesh on mock chips.
ORDERS = {
    "v5e 2x2": [0, 1, 3, 2],
    "v5e 2x4, v6e 2x4": [0, 1, 2, 3, 7, 6, 5, 4],
    "v4 2x2, v5p 2x2": [0, 2, 1, 3],
}
OPTIMIZER = optax.adamw(0.1)


@pytest.fixture
def wire(monkeypatch):
    """Makes jax.make_mesh order devices as on a TPU; on a CPU it does not reorder."""
    real = jax.make_mesh

    def wired(order):
        def make_mesh(shape, names, *, devices, **options):
            by_order = [devices[i] for i in order]
            return real(shape, names, devices=by_order, **options)

        monkeypatch.setattr(jax, "make_mesh", make_mesh)

    monkeypatch.setattr("restr_jax.parallel._LEAST_SHARDED", 16)
    return wired


def model(params, batch):
    return jnp.tanh(batch["image"] @ params["hidden"]) @ params["out"]


def step(state, batch, axis_name):
    """Updates a small, fast-compiling model with the sums of a training step."""

    def loss(params):
        return jnp.sum(jnp.square(model(params, batch) - batch["mask"]))

    params, moments = state
    value, gradient = jax.value_and_grad(loss)(params)
    if axis_name:
        value, gradient = jax.lax.psum((value, gradient), axis_name)
    updates, moments = OPTIMIZER.update(gradient, moments, params)
    return (optax.apply_updates(params, updates), moments), {"loss": value}


def train_and_score(parallel, batch):
    """Returns losses, last state and predictions, computed as in the training loop."""
    rng = np.random.default_rng(0)
    params = {
        "hidden": rng.normal(size=(8, 16)).astype(np.float32),
        "out": rng.normal(size=(16, 4)).astype(np.float32),
    }
    state = (params, OPTIMIZER.init(params))
    take = parallel.train_step(step, parallel.describe(jax.eval_shape(lambda: state)))
    state, losses = parallel.place(state), []
    for _ in range(3):
        fed = parallel.feed(batch)
        with jax.transfer_guard("disallow"):
            state, sums = take(state, fed)
        losses.append(float(sums["loss"]))
    predict = parallel.predict_step(model)
    params, fed = parallel.to_score(state[0]), parallel.shard(batch)
    with jax.transfer_guard("disallow"):
        output = predict(params, fed)
    return losses, jax.device_get(state), np.asarray(output)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(("mode", "fsdp"), [("jit", 1), ("jit", 2), ("pmap", 1)])
def test_training_and_scoring_do_not_depend_on_the_device_order(
    wire, order, mode, fsdp
):
    rng = np.random.default_rng(1)
    batch = {
        "image": rng.normal(size=(16, 8)).astype(np.float32),
        "mask": rng.normal(size=(16, 4)).astype(np.float32),
    }
    devices = jax.devices()[: len(order)]
    one = train_and_score(Parallel(mode, fsdp, devices), batch)
    permuted = [devices[i] for i in order]
    named = train_and_score(Parallel(mode, fsdp, permuted), batch)
    wire(order)
    wired = train_and_score(Parallel(mode, fsdp, devices), batch)
    # Bit for bit: each position has the same rows, and sums go by position.
    for other in (named, wired):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_devices_of_a_process_take_consecutive_places():
    class Device:
        def __init__(self, number, process_index):
            self.number, self.process_index = number, process_index

    # A 4x4 slice of four hosts of 2x2 chips, in snake order along its rows.
    hosts = [0, 0, 1, 1, 1, 1, 0, 0, 2, 2, 3, 3, 3, 3, 2, 2]
    ring = [Device(i, host) for i, host in enumerate(hosts)]
    numbers = [device.number for device in parallel._by_process(ring)]
    assert numbers == [0, 1, 6, 7, 2, 3, 4, 5, 8, 9, 14, 15, 10, 11, 12, 13]
