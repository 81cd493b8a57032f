import contextlib
import io
import json
import logging
import re
import sys

import events
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
import screens
from PIL import Image

from restr_jax import experiment, train
from restr_jax.data import pipeline, preprocess
from restr_jax.models import parameters

PARTS = ("vision", "language", "fusion", "decoder")


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
    config.model.vision.num_layers, config.model.vision.drop_path_rate = 2, 0.2
    workdir = tmp_path_factory.mktemp("straight")
    with (workdir / "log.txt").open("w") as file, logged_to(file):
        return config, workdir, runs.finish(config, workdir)


@contextlib.contextmanager
def logged_to(stream):
    """Prints log lines and bars to a stream, as a command does to its terminal."""
    with pytest.MonkeyPatch.context() as patch, screens.logged_steps():
        patch.setattr(sys, "stderr", stream)
        patch.setattr(logging.root, "handlers", [logging.StreamHandler()])
        yield


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
    monkeypatch.setattr("os.getpid", lambda: 10**9)  # As in another process.
    screen = screens.Screen()
    with screen.stream() as stream, logged_to(stream):
        again = runs.finish(config, tmp_path)
    assert_equal_trees(final_state(config, whole), final_state(config, tmp_path))
    history = without_speed(read_metrics(whole))
    assert without_speed(read_metrics(tmp_path)) == history
    assert [r["step"] for r in history if "loss" in r] == [2, 4, 6, 8]
    assert [r["oiou"] for r in again] == [r["oiou"] for r in rows]
    # TensorBoard shows the same values and pictures, each once.
    one, other = (without_speed_and_config(events.shown(w)) for w in (whole, tmp_path))
    assert one == other
    lines = screen.lines()
    assert f"8 steps (0.533 epochs), resuming from step 4 of {tmp_path}" in lines
    assert len([line for line in lines if line.startswith("step 8: loss=")]) == 1
    (bar,) = [line for line in lines if line.startswith("training: 100%|")]
    last = {k: v for row in history for k, v in row.items()}
    values = f"loss={last['loss']:.4f}, oIoU={last['shapes:val/oiou']:.4f}]"
    assert " 8/8 [" in bar and bar.endswith(values)


def without_speed_and_config(shown):
    timed = ("expressions_per_second", "minutes_left", "input_wait", "config")
    return {key: x for key, x in shown.items() if not key[0].startswith(timed)}


def test_a_log_file_has_the_size_of_the_run_and_no_bar(straight):
    config, workdir, _ = straight
    log = (workdir / "log.txt").read_text()
    assert "\r" not in log
    run = experiment.start(config, str(workdir), training=False)
    count = f"{parameters.count(run.abstract_state.params):,}"
    first = f"training in float32 on 8 cpu devices, 1 process: {count} parameters, "
    # 40 scenes of 9 expressions are 120 parts of 3; 64 parts are drawn.
    size = [
        f"{first}{count} of them trained",
        "data: shapes:train, 40 images, 360 expressions; a batch has 8 images, "
        "K=3 expressions of each",
        f"8 steps (0.533 epochs), starting in {workdir}",
        "compiling the training step",
    ]
    lines = log.splitlines()
    place = lines.index(size[0])
    assert lines[place : place + 4] == size
    assert re.fullmatch(r"compiled in \d+\.\d s", lines[place + 4])
    loss = float(re.fullmatch(r"step 1: loss=(\S+)", lines[place + 5])[1])
    steps = [line.split(":")[0] for line in lines[place + 6 :]]
    wanted = [f"step {n}" for n in (2, 4, 4, 6, 8, 8)]
    assert [name for name in steps if name.startswith("step ")] == wanted
    # The first line of metrics.jsonl is the mean of the first two steps.
    assert 0.5 < loss / read_metrics(workdir)[0]["loss"] < 2


def test_frozen_parameters_are_not_counted_as_trained(tiny_config, tmp_path, caplog):
    config = tiny_config("shapes")
    config.optimizer.lr_scale.vision, config.optimizer.freeze_words = 0.0, True
    run = experiment.start(config, str(tmp_path), training=True)
    with caplog.at_level("INFO", "restr_jax"):
        train._introduce(run, run.data.training, 0)
    shapes = parameters.shapes(run.abstract_state.params)
    trained = sum(
        np.prod(shape, dtype=int)
        for path, shape in shapes.items()
        if not path.startswith("vision/") and path != "language/words/embedding"
    )
    assert f"parameters, {trained:,} of them trained" in caplog.text


def test_tensorboard_shows_cases_rates_and_the_configuration(straight):
    config, workdir, _ = straight
    shown = events.shown(workdir)
    pictures = {key: x for key, x in shown.items() if key[0].startswith("shapes:val/c")}
    assert list(pictures) == [
        (f"shapes:val/case-{n}", step) for step in (4, 8) for n in (1, 2, 3, 4)
    ]
    split = experiment.start(config, str(workdir), training=False).data.scored("val")
    texts = set(sum(split.sentences, []))
    titles = [value.metadata.display_name for value in pictures.values()]
    assert set(titles) <= texts and titles[:4] == titles[4:]
    for value in pictures.values():
        picture = Image.open(io.BytesIO(value.image.encoded_image_string))
        height = preprocess.decode_image(split.source[0]["image"], "").shape[0]
        assert picture.size == (3 * height, height)  # Scenes are square.
    rates = {part: shown[f"learning_rate/{part}", 4].simple_value for part in PARTS}
    assert set(rates.values()) == {shown["learning_rate", 4].simple_value}
    (text,) = shown["config/text_summary", 1].tensor.string_val
    stored = text.decode().removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(stored) == json.loads((workdir / "config.json").read_text())


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
