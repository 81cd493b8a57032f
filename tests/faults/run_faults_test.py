"""Runs with non-finite losses, clock changes, second trainers and signals."""

import json
import os
import signal
import time

import jax
import numpy as np
import pytest
import runs

from restr_jax import experiment, files, train
from restr_jax.data import pipeline
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.training import preemption, train_step
from restr_jax.training.metric_writer import MetricWriter


def read_metrics(workdir):
    timed = ("expressions_per_second", "minutes_left", "input_wait")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = map(json.loads, lines)
    return [{k: v for k, v in row.items() if k not in timed} for row in rows]


def final_state(config, workdir):
    run = experiment.start(config, str(workdir), training=False)
    checkpoints = run.checkpoints()
    restored = checkpoints.restore_latest(run.abstract_state)
    checkpoints.close()
    return jax.device_get(restored.state)


def assert_equal_runs(config, one, other):
    trees = final_state(config, one), final_state(config, other)
    jax.tree.map(np.testing.assert_array_equal, *trees)
    assert read_metrics(one) == read_metrics(other)


@pytest.fixture(scope="module")
def config(tiny_config):
    config = tiny_config("shapes")
    config.eval.shuffled_text, config.eval.num_figures = False, 0
    # No metrics line coincides with an evaluation or a checkpoint.
    config.log_every_steps = 3
    config.model.vision.num_layers, config.model.vision.drop_path_rate = 2, 0.2
    return config


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    runs.finish(config, workdir)
    return workdir


def at_batch(monkeypatch, number, act):
    """Calls `act` when the loop asks for batch `number` of a run."""
    real = pipeline.train_batches

    def stream(*args, **kwargs):
        batches = real(*args, **kwargs)
        for i, batch in enumerate(batches):
            if i == number:
                act()
            yield batch

    monkeypatch.setattr(pipeline, "train_batches", stream)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("number", [4, 0])
def test_a_run_that_received_sigterm_saves_the_step_and_resumes(
    config, straight, tmp_path, monkeypatch, number
):
    with monkeypatch.context() as patch:
        at_batch(patch, number, terminate)
        with pytest.raises(preemption.PreemptedError, match=f"Step {number + 1} is"):
            runs.finish(config, tmp_path)
    assert (tmp_path / "checkpoints" / str(number + 1)).is_dir()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    runs.finish(config, tmp_path)
    assert_equal_runs(config, straight, tmp_path)


@pytest.mark.slow
def test_a_run_that_received_sigterm_while_scoring_scores_later(
    config, straight, tmp_path, monkeypatch
):
    real = Evaluator._batches

    def told(self, split):
        terminate()
        return real(self, split)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "_batches", told)
        with pytest.raises(preemption.PreemptedError, match="Step 4 is saved"):
            runs.finish(config, tmp_path)
    run = experiment.start(config, str(tmp_path), training=False)
    checkpoints = run.checkpoints()
    assert checkpoints.steps() == [4] and checkpoints.best_step() is None
    checkpoints.close()
    runs.finish(config, tmp_path)
    assert_equal_runs(config, straight, tmp_path)


def with_infinite_step(monkeypatch, step):
    """Makes the loss of one step infinite, whatever the model computes."""
    real = train_step.segmentation_losses

    def losses(output, mask, valid, **options):
        # The marked batch identifies the step.
        sums = real(output, mask, valid, **options)
        marked = jax.numpy.all(mask)
        return {k: jax.numpy.where(marked, np.inf, v) for k, v in sums.items()} | {
            "count": sums["count"]
        }

    def mark(loader, *args, **kwargs):
        for i, batch in enumerate(real_stream(loader, *args, **kwargs)):
            if i == step:
                batch = batch | {"mask": np.ones_like(batch["mask"])}
            yield batch

    real_stream = pipeline.train_batches
    monkeypatch.setattr(train_step, "segmentation_losses", losses)
    monkeypatch.setattr(pipeline, "train_batches", mark)


def test_a_nonfinite_step_is_named_and_not_kept(config, tmp_path, monkeypatch):
    with_infinite_step(monkeypatch, 5)
    with pytest.raises(FloatingPointError, match=r"step 6 is not finite: loss in"):
        train.train_and_evaluate(config, str(tmp_path))
    before = final_state(config, tmp_path)
    assert before.step == 4  # The last good state is kept.


@pytest.mark.slow
def test_a_nonfinite_step_is_skipped_on_request(config, tmp_path, monkeypatch):
    with_infinite_step(monkeypatch, 5)
    skipping = config.copy_and_resolve_references()
    skipping.optimizer.nonfinite = "skip"
    train.train_and_evaluate(skipping, str(tmp_path))
    state = final_state(skipping, tmp_path)
    assert state.step == 8
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    rows = {row["step"]: row for row in read_metrics(tmp_path) if "loss" in row}
    assert [rows[step]["skipped_steps"] for step in (3, 6, 8)] == [0, 1, 0]
    assert all(np.isfinite(row["loss"]) for row in rows.values())


@pytest.mark.slow
def test_a_clock_that_goes_back_has_no_effect(config, straight, tmp_path, monkeypatch):
    now, real = time.time(), time.time
    monkeypatch.setattr(time, "time", lambda: now - 86_400 * (real() - now))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    runs.finish(config, tmp_path)
    assert_equal_runs(config, straight, tmp_path)


def test_a_second_trainer_is_refused(config, straight):
    with files.locked(straight / ".training", "the first"):
        with pytest.raises(BlockingIOError, match="Another process is training in"):
            runs.finish(config, straight)
    runs.finish(config, straight)


def test_an_unwritable_folder_is_reported(config, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="cannot be written to .*another --workdir"):
        train.train_and_evaluate(config, str(tmp_path / "file" / "run"))


def test_lost_metrics_are_reported(config, straight, tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "loss": 1.0}\n')
    writer = MetricWriter(str(tmp_path), 6, lines=2)
    writer.write(9, {"loss": 0.5})
    assert writer.lines == 2
    writer.close()
    assert "has lost 1 lines" in caplog.text
