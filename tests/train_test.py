import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

from restr_jax import experiment, train
from restr_jax.data import pipeline


def read_metrics(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def without_speed(rows):
    timed = ("expressions_per_second", "minutes_left", "input_wait")
    return [{k: v for k, v in row.items() if k not in timed} for row in rows]


def assert_equal_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def final_state(config, workdir):
    run = experiment.start(config, str(workdir), training=False)
    checkpoints = run.checkpoints()
    last = checkpoints.steps()[-1]
    state = checkpoints.restore(last, run.abstract_state).state
    checkpoints.close()
    return jax.device_get(state)


@pytest.fixture(scope="module")
def straight(tiny_config, tmp_path_factory):
    """Returns config, workdir and rows of an uninterrupted run."""
    config = tiny_config("shapes")
    config.eval.num_figures, config.eval.shuffled_text = 0, False
    # Stochastic depth is on: its randomness must resume too.
    config.model.vision.drop_path_rate = 0.2
    workdir = tmp_path_factory.mktemp("straight")
    return config, workdir, runs.finish(config, workdir)


class Killed(Exception):
    pass


def kill_after(monkeypatch, batches):
    """Ends a run with an error when it asks for one batch too many."""
    real = pipeline.train_batches

    def limited(*args, **kwargs):
        stream = real(*args, **kwargs)
        for _ in range(batches):
            yield next(stream)
        stream.close()
        raise Killed

    monkeypatch.setattr(pipeline, "train_batches", limited)


def test_a_killed_run_continues_to_bit_identical_weights(
    straight, tmp_path, monkeypatch
):
    config, whole, rows = straight
    with monkeypatch.context() as patch:
        kill_after(patch, 5)
        with pytest.raises(Killed):
            runs.finish(config, tmp_path)
    # Checkpoint 4 is the last one; step 5 is lost and repeated.
    again = runs.finish(config, tmp_path)
    assert_equal_trees(final_state(config, whole), final_state(config, tmp_path))
    history = without_speed(read_metrics(whole))
    assert without_speed(read_metrics(tmp_path)) == history
    assert [r["step"] for r in history if "loss" in r] == [2, 4, 6, 8]
    assert [r["oiou"] for r in again] == [r["oiou"] for r in rows]


def test_a_finished_run_is_only_scored_again(straight):
    config, workdir, rows = straight
    history = (workdir / "metrics.jsonl").read_text()
    assert train.train_and_evaluate(config, str(workdir)) == rows
    assert (workdir / "metrics.jsonl").read_text() == history


def test_the_initial_weights_are_scored_and_kept(straight, tmp_path, monkeypatch):
    first, source, _ = straight
    config = first.copy_and_resolve_references()
    config.init_from = str(source)
    config.data.vocabulary = str(source / "vocabulary.txt")
    config.eval.at_start, config.eval.checkpoints = True, "0"
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(Killed):
            runs.finish(config, tmp_path)
    (row,) = runs.finish(config, tmp_path)
    key = "shapes:val/oiou"
    scored = [(r["step"], r[key]) for r in read_metrics(tmp_path) if key in r]
    assert [step for step, _ in scored] == [0, 4, 8]
    run = experiment.start(config, str(tmp_path), training=False)
    given = experiment.start(first, str(source), training=False)
    assert_equal_trees(run.params(0), given.params(8))
    assert (row["step"], row["oiou"]) == (0, pytest.approx(scored[0][1], abs=1e-6))


def test_a_workdir_of_another_config_is_refused(tiny_config, tmp_path):
    config = tiny_config("shapes")
    experiment.start(config, str(tmp_path), training=True)
    config.optimizer.learning_rate = 0.5
    with pytest.raises(ValueError, match="learning_rate: 0.001 there, 0.5 now"):
        experiment.start(config, str(tmp_path), training=True)
    config.optimizer.learning_rate = 1e-3
    config.log_every_steps = 1
    experiment.start(config, str(tmp_path), training=True)


def test_a_nonfinite_loss_ends_the_run(tiny_config, tmp_path):
    config = tiny_config("shapes")
    config.optimizer.learning_rate = 1e30
    with pytest.raises(FloatingPointError, match="step [1-8] is not finite"):
        train.train_and_evaluate(config, str(tmp_path))


def test_a_missing_data_set_is_reported_with_a_remedy(tiny_config, tmp_path):
    config = tiny_config("shapes")
    config.data.data_dir = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="tfds_builders.prepare shapes"):
        train.train_and_evaluate(config, str(tmp_path / "run"))


def test_a_split_that_does_not_exist_is_refused_before_training(tiny_config, tmp_path):
    config = tiny_config("shapes")
    config.eval.splits = "testA"
    with pytest.raises(ValueError, match="no split 'testA'"):
        train.train_and_evaluate(config, str(tmp_path))
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.resize", "crop", "config.data.resize 'crop'"),
        ("model.image_size", (30, 32), "whole number of patches"),
        ("eval.every_steps", 3, "multiple of config.checkpoint_every_steps"),
        ("eval.thresholds", (0.5, 35.0), "thresholds is .* between 0 and 1"),
        ("eval.images_per_device", 0, "images_per_device is 0; .* at least 1"),
        ("model.image_size", (64,), "height and width in pixels"),
        ("checkpoint_every_steps", 0, "checkpoint_every_steps is 0"),
        ("parallel", "tpu", "config.parallel 'tpu'"),
        ("model.fusion.kind", "sum", "fusion kind 'sum'"),
        ("model.fusion.num_layers", 3, "even, not 3"),
        ("optimizer.nonfinite", "ignore", "nonfinite is 'ignore'"),
    ],
)
def test_an_invalid_config_is_refused(tiny_config, tmp_path, key, value, message):
    config = tiny_config("shapes")
    with config.unlocked():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        train.train_and_evaluate(config, str(tmp_path))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_glove_vectors_initialise_the_word_table(tiny_config, tmp_path, testdata):
    config = tiny_config("gref/google")
    config.model.language.width = 300
    config.data.glove = str(testdata / "vectors.300d.txt.gz")
    run = experiment.start(config, str(tmp_path), training=True)
    table = run.fresh_state().params["language"]["words"]["embedding"]
    row = table[run.vocabulary.words.index("of")]
    drawn = run.abstract_state.params["language"]["words"]["embedding"]
    assert table.shape == drawn.shape
    # The first values of "of" in the file.
    np.testing.assert_allclose(row[:3], [-0.22811, 0.32354, 0.4377], atol=1e-6)
    assert not jnp.any(table[0])


@pytest.mark.slow  # Takes a minute on two cores.
def test_two_photographs_can_be_overfitted(tiny_config, tmp_path):
    # The whole pipeline on photographs: a model that cannot overfit two photographs has
    # mixed up images, masks or words.
    config = tiny_config("gref/google")
    config.model.vision.drop_path_rate = config.model.fusion.drop_path_rate = 0.0
    config.optimizer.total_steps = 300
    config.optimizer.warmup_steps = 10
    config.log_every_steps = config.checkpoint_every_steps = 50
    config.eval.every_steps = 300
    config.eval.splits = "train"
    (row,) = train.train_and_evaluate(config, str(tmp_path))
    assert row["num_expressions"] == 2
    assert row["oiou"] >= 0.8
