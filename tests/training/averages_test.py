import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restr_jax.training import train_state
from restr_jax.training.train_state import TrainState
from restr_jax.workdir import checkpoint


def test_the_average_matches_a_computation_by_hand():
    average = {"w": jnp.array([1.0])}
    # The old average's weight is 1 / 10, then (1 + step) / (10 + step), then the decay.
    for step, new, expected in ((0, 2.0, 1.9), (1, 3.0, 2.8), (10_000, 12.8, 3.8)):
        average = train_state.averaged(average, {"w": jnp.array([new])}, step, 0.9)
        np.testing.assert_allclose(average["w"], [expected], rtol=1e-6)


def test_the_average_is_scored_and_read(tmp_path):
    params = {"w": jnp.arange(12.0).reshape(3, 4)}
    plain = TrainState(jnp.int32(1), params, {"moment": jnp.ones((3, 4))})
    averaged = plain.replace(average={"w": 2 * params["w"]})
    assert plain.scored is plain.params and averaged.scored is averaged.average
    for name, state in (("plain", plain), ("averaged", averaged)):
        checkpoints = checkpoint.Checkpoints(str(tmp_path / name), 1)
        checkpoints.save(1, state)
        restored = checkpoints.restore_latest(state).state
        checkpoints.close()
        assert jax.tree.structure(restored) == jax.tree.structure(state)
        jax.tree.map(np.testing.assert_array_equal, restored, state)
        read = checkpoint.read_params(str(tmp_path / name / "checkpoints" / "1"))
        np.testing.assert_array_equal(read["w"], state.scored["w"])


def test_a_damaged_average_is_found(tmp_path, monkeypatch):
    params = {"w": jnp.ones((3, 4))}
    state = TrainState(jnp.int32(1), params, (), {"w": 2 * params["w"]})
    checkpoints = checkpoint.Checkpoints(str(tmp_path), 1)
    checkpoints.save(1, state)
    checkpoints.close()
    folder = str(tmp_path / "checkpoints" / "1")
    real = checkpoint.ocp.load_checkpointables

    def flip(*given):
        loaded = real(*given)
        loaded["state"]["average"]["w"][0, 0] = 3.0
        return loaded

    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", flip)
    with pytest.raises(checkpoint.DamagedCheckpointError, match="'average' differ"):
        checkpoint.read_params(folder)


def test_a_new_average_shares_no_memory_with_the_parameters():
    import optax

    params = {"w": jnp.ones(3)}
    state = train_state.create(params, optax.identity(), averaged=True)
    places = {x["w"].unsafe_buffer_pointer() for x in (state.average, state.params)}
    assert len(places) == 2
    assert train_state.create(params, optax.identity()).average is None
