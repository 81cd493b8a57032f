"""Properties of the training loop: one compilation, no implicit transfers, traces."""

import gzip
import json

import jax
import numpy as np
import pytest

from restr_jax import train
from restr_jax.evaluation import evaluator
from restr_jax.training.step_metrics import Window


def test_steps_after_the_first_compile_nothing_and_sums_encode_no_mask(
    tiny_config, tmp_path, monkeypatch, compiled
):
    config = tiny_config("shapes")
    counts = []
    real = Window.add

    def add(self, sums):
        counts.append(len(compiled))
        real(self, sums)

    monkeypatch.setattr(Window, "add", add)
    encoded, encode = [], evaluator.to_rle
    monkeypatch.setattr(
        evaluator, "to_rle", lambda mask: encoded.append(0) or encode(mask)
    )
    # No scoring or saving between the steps, since these compile their own programs.
    config.checkpoint_every_steps = config.eval.every_steps = 8
    (row,) = train.train_and_evaluate(config, str(tmp_path))
    # Each prediction encodes a mask and a stretched one; validation encodes none.
    assert len(encoded) == 2 * row["num_expressions"]
    assert len(counts) == 8
    assert counts[0] > 0
    assert counts[1:] == [counts[0]] * 7


def test_the_loop_refuses_implicit_transfers_to_the_device(tiny_config, tmp_path):
    config = tiny_config("shapes")
    config.checkpoint_every_steps = config.eval.every_steps = 8

    with pytest.MonkeyPatch.context() as patch:
        # Feeds the host's own arrays to the step.
        patch.setattr("restr_jax.parallel.Parallel.feed", lambda self, batch: batch)
        with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-dev"):
            train.train_and_evaluate(config, str(tmp_path))


@pytest.mark.slow
def test_the_configured_steps_are_profiled(tiny_config, tmp_path):
    config = tiny_config("shapes")
    config.profile.num_steps, config.profile.after_steps = 2, 3
    train.train_and_evaluate(config, str(tmp_path))
    (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    marks = [e for e in events if e.get("name") == "train"]
    assert sorted(int(e["args"]["step_num"]) for e in marks) == [3, 4]


class Slow:
    """A stream with delays, measured by its own clock."""

    def __init__(self, clock):
        self.clock = clock

    def __iter__(self):
        return self

    def __next__(self):
        self.clock[0] += 3.0
        return {}


@pytest.mark.parametrize(("busy", "expected"), [(False, 0.75), (True, 0.0)])
def test_a_wait_counts_only_while_the_device_is_idle(monkeypatch, busy, expected):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    names = (
        "loss",
        "pixel_loss",
        "patch_loss",
        "count",
        "gradient_norm",
        "learning_rate",
        "bad_images",
    )

    class Sum(float):
        def is_ready(self):
            return not busy

    window = Window(total_steps=10)
    window.add({name: Sum(1.0) for name in names} | {"nonfinite": Sum(0.0)})
    window.next_batch(Slow(clock))
    clock[0] += 1.0
    means = window.close(1)
    np.testing.assert_allclose(means["input_wait"], expected)
    np.testing.assert_allclose(means["expressions_per_second"], 1 / 4)
