"""Tests the photograph configuration on scenes of shapes instead of photographs."""

import gzip
import json
import pathlib

import numpy as np
import pytest
import runs

import restr_jax
from configs import common, photos
from restr_jax import experiment
from restr_jax.data import splits
from restr_jax.pretrained import load
from restr_jax.workdir import model_files

WORDS = 16_000


@pytest.fixture(scope="module")
def glove_file(tmp_path_factory):
    """Returns a file like GloVe's first words, including three words of the scenes."""
    path = tmp_path_factory.mktemp("glove") / "glove.50d.txt.gz"
    rng = np.random.default_rng(0)
    names = ["the", "circle", "red", *(f"word{i}" for i in range(WORDS - 3))]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for name, vector in zip(names, rng.normal(0, 0.4, (WORDS, 50)), strict=True):
            print(name, *(f"{x:.3g}" for x in vector), file=file)
    return path


def shrink(config):
    """Shrinks the configuration so that three steps take seconds."""
    config.model.image_size = (32, 32)
    for part in ("vision", "fusion"):
        config.model[part].update(width=32, num_heads=2, mlp_dim=64, num_layers=2)
    config.model.language.num_layers = 1
    config.batch_size = 8
    config.log_every_steps = 1
    config.optimizer.total_steps, config.optimizer.warmup_steps = 3, 1
    config.checkpoint_every_steps = config.eval.every_steps = 2
    config.eval.images_per_device = 1
    config.eval.num_figures = 0


@pytest.fixture(scope="module")
def run(shapes_dir, glove_file, tmp_path_factory):
    """Returns configuration, workdir and rows of three steps."""
    data_dir = tmp_path_factory.mktemp("photographs")
    config = photos.get_config("small")
    for name in set(config.data.dataset.split(",")):
        (data_dir / name).parent.mkdir(exist_ok=True)
        (data_dir / name).symlink_to(pathlib.Path(shapes_dir, "shapes"))
    config.data.data_dir, config.data.glove = str(data_dir), str(glove_file)
    config.data.exclude = ""
    config.eval.splits, config.eval.shuffled_text = "instances/coco:val", False
    shrink(config)
    real = splits._Records.__getitem__

    def without_some(self, index):
        record = real(self, index)
        objects = np.array(record["expressions"]["object"])
        objects[::4] = -1
        return record | {"expressions": record["expressions"] | {"object": objects}}

    workdir = tmp_path_factory.mktemp("run") / "photos"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits._Records, "__getitem__", without_some)
        rows = runs.finish(config, workdir)
    return config, workdir, rows


@pytest.mark.slow
def test_a_run_starts_takes_steps_and_scores(run):
    _, workdir, (row,) = run
    # Of each of eight scenes' nine expressions, every fourth fits nothing.
    assert (row["num_expressions"], row["num_no_target"]) == (48, 24)
    assert 0.0 <= row["n_acc"] <= 1.0 and 0.0 <= row["t_acc"] <= 1.0
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [line for line in lines if "dice_loss" in line]
    assert len(losses) == 3 and all(0.0 < line["dice_loss"] < 1.0 for line in losses)


@pytest.mark.slow
def test_the_average_is_stored_and_resumed_bit_for_bit(run):
    config, workdir, _ = run
    opened = experiment.start(config, str(workdir), training=False)
    checkpoints = opened.checkpoints(read_only=True)
    state = checkpoints.restore(3, opened.abstract_state).state
    checkpoints.close()
    params = opened.params(3)
    kernel = params["decoder"]["linear_0"]["kernel"]
    np.testing.assert_array_equal(
        kernel, state.average["decoder"]["linear_0"]["kernel"]
    )
    assert (kernel != state.params["decoder"]["linear_0"]["kernel"]).any()
    read = load.read(workdir).arrays["decoder/linear_0/kernel"]
    np.testing.assert_array_equal(read, kernel)


@pytest.mark.slow
def test_glove_words_ship_in_float16_and_give_the_same_answers(run, tmp_path):
    _, workdir, _ = run
    trained = model_files.read(workdir, "latest")
    table = np.asarray(trained.params["language"]["words"]["embedding"])
    assert len(table) > WORDS and trained.vocabulary.ids["word15000"]
    model_files.write(trained, tmp_path)
    stored = load.weight_files.read_arrays(tmp_path / "weights.safetensors")
    assert {x.dtype for x in stored.values()} == {np.dtype(np.float16)}
    # The file's three digits exceed the precision of float16.
    shipped = stored["language/words/embedding"].astype(np.float32)
    np.testing.assert_allclose(shipped, table, rtol=2**-11, atol=2**-24)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    said = [
        model.encode(pixels).segment(["word15000 circle", "the zyx word7"])
        for model in (
            restr_jax.load(workdir, checkpoint="latest"),
            restr_jax.load(tmp_path),
        )
    ]
    for one, other in zip(*said, strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=5e-3)
    assert said[1][0].unknown == () and said[1][1].unknown == ("zyx",)


def test_config_words_choose_size_and_stage():
    config = photos.get_config()
    assert config.model.vision.width == config.model.fusion.width == 192
    assert config.model.language.width == 50 and config.model.patch_size == 16
    assert config.model.vision.num_layers == 12
    small = photos.get_config("small,S/16")
    assert small.model.image_size < config.model.image_size
    assert small.model.vision.width == 384 and small.model.language.width == 300
    assert set(config.to_dict()) == set(common.get_config().to_dict())
    for size in common.SIZES:
        for part in ("vision", "language", "fusion"):
            sizes = common.get_config(size).model[part]
            assert sizes.width % sizes.num_heads == 0
