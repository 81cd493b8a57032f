import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from restr_jax.models import ReSTR, build_model
from restr_jax.training import train_state, train_step
from restr_jax.training.optimizer import make_optimizer

# Float32: 1 - beta2^2 is off by 3e-5; Adam takes its root.
TOLERANCE = 5e-5
# Linear up to 0.5 in two steps, then linear down to 0 in four: 0.5 * (6 - step) / 4.
RATES = [0.0, 0.25, 0.5, 0.375, 0.25, 0.125]


@pytest.fixture
def take(monkeypatch):
    """Returns a compiled step of a one-parameter model, and its first state."""
    config = common.get_config("tiny")
    settings = config.optimizer
    settings.total_steps, settings.warmup_steps = 6, 2
    settings.learning_rate, settings.poly_power = 0.5, 1.0
    settings.weight_decay, settings.nonfinite = 0.0, "skip"

    def losses(output, mask, valid, **_):
        # Adam divides this gradient, the same in every step, by itself.
        return {"loss": (output * mask).sum(), "count": valid.sum(dtype=jnp.float32)}

    def apply(self, variables, *_, **options):
        return variables["params"]["fusion"]["kernel"]

    monkeypatch.setattr(train_step, "segmentation_losses", losses)
    monkeypatch.setattr(ReSTR, "apply", apply)
    optimizer, model = make_optimizer(settings), build_model(config.model, 3)
    step = train_step.make_train_step(model, optimizer, config)
    params = {"fusion": {"kernel": jnp.zeros((1,))}}
    state = train_state.create(params, optimizer)
    return jax.jit(lambda s, b: step(s, b, None)), state


def batch(value):
    return {
        "image": jnp.zeros((2, 4, 4, 3), jnp.uint8),
        "box": jnp.array([[0, 0, 4, 4]] * 2),
        "tokens": jnp.ones((2, 1, 3), jnp.int32),
        "mask": jnp.full((2, 1, 4, 4), value),
        "valid": jnp.ones((2, 1), bool),
        "row": jnp.arange(2),
    }


def run(take, bad=()):
    """Takes all steps; returns the logged and the used rates."""
    step, state = take
    logged, used = [], []
    for i in range(6):
        before = state.params["fusion"]["kernel"].item()
        state, sums = step(state, batch(np.nan if i in bad else 1.0))
        assert sums["nonfinite"] == (i in bad)
        logged.append(sums["learning_rate"].item())
        used.append(before - state.params["fusion"]["kernel"].item())
    return logged, used


def test_the_logged_rate_is_the_used_rate(take):
    logged, used = run(take)
    np.testing.assert_allclose(logged, RATES, rtol=1e-6)
    np.testing.assert_allclose(used, RATES, rtol=TOLERANCE)


def test_a_skipped_step_keeps_the_parameters_and_the_schedule(take):
    logged, used = run(take, bad=(2, 3))
    np.testing.assert_allclose(logged, RATES, rtol=1e-6)
    expected = [rate * (i not in (2, 3)) for i, rate in enumerate(RATES)]
    np.testing.assert_allclose(used, expected, rtol=TOLERANCE)
    # The last step uses the schedule's last rate, one step of four above its end, 0.
    assert used[-1] == pytest.approx(0.125, rel=TOLERANCE)


def test_a_state_whose_schedule_lags_catches_up(take):
    # The state that earlier versions left after two skipped steps.
    step, state = take
    _, used = run((step, state.replace(step=jnp.int32(2))))
    np.testing.assert_allclose(used[:4], RATES[2:], rtol=TOLERANCE)
