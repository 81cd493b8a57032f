import json
import logging
import shutil

import flax.traverse_util
import jax
import numpy as np
import pytest

from restr_jax import experiment
from restr_jax.pretrained import load
from restr_jax.training import train_state
from restr_jax.workdir import model_files


def flat(params):
    return flax.traverse_util.flatten_dict(jax.device_get(params), sep="/")


def given_params(config, folder):
    """Returns a new run's parameters from the weights that its config names."""
    run = experiment.start(config, str(folder), training=True)
    return run.given_params(run.abstract_state.params)


@pytest.fixture(scope="module")
def vit_weights(tiny_vit):
    return load.Weights("vit", tiny_vit.arrays, (4, 4), "bicubic", {"vision": 4})


@pytest.fixture
def vit_npz(vit_weights, tmp_path):
    """Writes the small ViT: width 48, 3 layers, 4 heads, 4 x 4 patches of 16."""
    load.write(tmp_path / "vit.npz", vit_weights, {"source": "a test"})
    return str(tmp_path / "vit.npz")


@pytest.fixture
def vit_config(tiny_config, vit_npz):
    """Returns a function that makes the config of a model that the small ViT fits."""

    def make():
        config = tiny_config("shapes")
        config.model.patch_size = 16
        config.model.image_size = (96, 80)
        vision = config.model.vision
        vision.width, vision.num_layers, vision.num_heads = 48, 3, 4
        vision.mlp_dim = 192
        config.model.fusion.num_layers = 2
        config.init_from = vit_npz
        return config

    return make


@pytest.fixture(scope="module")
def trained(tiny_config, tmp_path_factory, random_params):
    """Returns a workdir with checkpoints 4 and 8, and their parameters."""
    config, workdir = tiny_config("shapes"), tmp_path_factory.mktemp("trained")
    run = experiment.start(config, str(workdir), training=True)
    checkpoints, saved = run.checkpoints(), {}
    for step in (4, 8):
        params = random_params(run.abstract_state.params)
        params["vision"]["norm"]["bias"] += step
        checkpoints.save(step, train_state.create(params, run.optimizer), None)
        saved[step] = flat(params)
    checkpoints.close()
    return config, workdir, saved


def test_a_file_is_read_as_it_was_written(vit_npz, vit_weights):
    found = load.read(vit_npz)
    assert found._replace(arrays={}) == vit_weights._replace(arrays={}, origin=vit_npz)
    assert found.arrays.keys() == vit_weights.arrays.keys()
    for path, array in vit_weights.arrays.items():
        np.testing.assert_array_equal(found.arrays[path], array)
    with np.load(vit_npz) as file:
        assert json.loads(str(file["metadata"]))["source"] == "a test"


def test_a_pretrained_vit_initialises_its_part(
    vit_config, vit_weights, tmp_path, caplog
):
    run = experiment.start(vit_config(), str(tmp_path / "run"), training=True)
    with caplog.at_level(logging.INFO, "restr_jax"):
        state = run.fresh_state()
    assert "vision: loaded from" in caplog.text and "vit.npz" in caplog.text
    assert "decoder, fusion, language: from scratch" in caplog.text
    given = vit_weights.on_grid((6, 5)).arrays
    started = flat(state.params)
    assert {p for p in started if p.startswith("vision/")} == (
        given.keys() - {"vision/class_token"}
    )
    for path, array in started.items():
        if path == "vision/positions":
            np.testing.assert_array_equal(array, given[path][:, 1:])
        elif path in given:
            np.testing.assert_array_equal(array, given[path])
        elif path.endswith("kernel"):
            assert 0.01 < array.std() < 1.0


def test_a_model_with_a_class_token_loads_it(vit_config, vit_weights, tmp_path):
    config = vit_config()
    config.model.vision.class_token = True
    found = given_params(config, tmp_path / "run")
    expected = vit_weights.on_grid((6, 5)).arrays
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array)


def test_weights_of_another_model_create_no_workdir(vit_config, tmp_path):
    workdir = tmp_path / "run"
    config = vit_config()
    config.model.vision.width = 64
    config.model.vision.num_layers = 2
    with pytest.raises(ValueError) as caught:
        experiment.start(config, str(workdir), training=True)
    message = str(caught.value)
    assert "12 not expected:\n  vision/encoder/block_2/" in message
    assert "(48,), not (64,)" in message
    assert message.endswith("(config.model), or other weights.")
    config = vit_config()
    config.model.vision.num_heads = 2
    with pytest.raises(ValueError, match="config.model.vision.num_heads=4, not 2"):
        experiment.start(config, str(workdir), training=True)
    config.init_from = str(tmp_path / "absent.npz")
    with pytest.raises(FileNotFoundError, match=r"absent.npz \(config.init_from\)"):
        experiment.start(config, str(workdir), training=True)
    assert not workdir.exists()


def test_weights_that_were_not_converted_are_refused(vit_config, vit_file, tmp_path):
    config = vit_config()
    for layout in ("google", "timm"):
        config.init_from = str(vit_file(layout))
        with pytest.raises(ValueError, match="restr_jax.pretrained --input="):
            experiment.start(config, str(tmp_path / "run"), training=True)


def test_a_started_run_does_not_need_its_weights_file(vit_config, tmp_path):
    config = vit_config()
    experiment.start(config, str(tmp_path / "run"), training=True)
    config.init_from = "gone.npz"
    experiment.start(config, str(tmp_path / "run"), training=True)


@pytest.mark.parametrize(("which", "step"), [("", 8), ("checkpoints/4", 4)])
def test_a_run_can_start_from_another(trained, tmp_path, which, step):
    config, workdir, saved = trained
    before = sorted(p.name for p in workdir.rglob("*"))
    config = config.copy_and_resolve_references()
    config.init_from = str(workdir / which)
    found = given_params(config, tmp_path / "run")
    assert found.keys() == saved[step].keys()
    for path, array in saved[step].items():
        np.testing.assert_array_equal(found[path], array)
    assert sorted(p.name for p in workdir.rglob("*")) == before


def test_a_run_can_start_from_an_export(trained, tmp_path):
    config, workdir, saved = trained
    model_files.write(model_files.read(workdir), tmp_path / "export")
    config = config.copy_and_resolve_references()
    config.init_from = str(tmp_path / "export")
    found = given_params(config, tmp_path / "run")
    assert found.keys() == saved[8].keys()
    for path, array in saved[8].items():
        np.testing.assert_array_equal(found[path], array.astype(np.float16))
        assert found[path].dtype == np.float32


def test_a_run_has_the_words_of_its_initial_model(trained, tmp_path):
    config, workdir, _ = trained
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    words = (other / "vocabulary.txt").read_text().splitlines()
    words[2:4] = words[3:1:-1]  # Another order than the training split gives.
    (other / "vocabulary.txt").write_text("\n".join(words) + "\n")
    config = config.copy_and_resolve_references()
    for which in ("", "checkpoints/8"):
        config.init_from = str(other / which)
        run = experiment.start(config, str(tmp_path / f"run{which[:1]}"), training=True)
        assert run.vocabulary.to_text().splitlines() == words


def test_a_folder_without_a_model_is_not_started_from(trained, tmp_path):
    config = trained[0].copy_and_resolve_references()
    config.init_from = str(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no trained model in"):
        experiment.start(config, str(tmp_path / "run"), training=True)
    assert not (tmp_path / "run").exists()


def test_a_run_can_start_from_one_with_smaller_images(trained, tmp_path):
    config, workdir, saved = trained
    config = config.copy_and_resolve_references()
    config.init_from, config.model.image_size = str(workdir), (40, 48)
    found = given_params(config, tmp_path / "run")["vision/positions"]
    assert found.shape == (1, 10 * 12, 32)
    corner = saved[8]["vision/positions"][0, 0]
    np.testing.assert_allclose(found[0, 0], corner, rtol=1e-6)


def test_vocabulary_and_glove_of_another_run_are_compared(trained, tmp_path):
    config, workdir, _ = trained
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    words = (other / "vocabulary.txt").read_text().splitlines()
    words[2:4] = words[3:1:-1]
    (other / "vocabulary.txt").write_text("\n".join(words) + "\n")
    config = config.copy_and_resolve_references()
    config.init_from = str(other)
    config.data.vocabulary = str(workdir / "vocabulary.txt")
    with pytest.raises(ValueError, match="belong to another vocabulary"):
        experiment.start(config, str(tmp_path / "run"), training=True)
    glove = tmp_path / "glove.txt"
    glove.write_text("red" + " 0.5" * config.model.language.width + "\n")
    config.init_from, config.data.glove = str(workdir), str(glove)
    with pytest.raises(ValueError, match="unset config.data.glove"):
        experiment.start(config, str(tmp_path / "run"), training=True)


def test_folders_without_a_checkpoint_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no trained model in"):
        load.read(tmp_path)
    _, workdir, _ = trained
    other = tmp_path / "other"
    shutil.copytree(workdir, other, ignore=shutil.ignore_patterns("state"))
    with pytest.raises(ValueError, match="8 is not a restr_jax checkpoint"):
        load.read(other)
