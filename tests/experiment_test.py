import json
import logging

import jax
import numpy as np
import pytest

from configs import ablations, common
from restr_jax import experiment, parallel


def test_a_given_vocabulary_is_stored_with_the_run_and_read_as_configured(
    tiny_config, tmp_path
):
    words = ["<pad>", "<go>", "<eos>", "<unk>", "circle", "", "red", "square", "red"]
    given = tmp_path / "published.txt"
    given.write_text("\n".join(words) + "\n")
    config = tiny_config("shapes")
    config.data.vocabulary = str(given)
    config.data.tokenizer, config.data.padding = "released", "left"
    workdir = str(tmp_path / "run")
    experiment.start(config, workdir, training=True)
    # Resuming and prediction use the vocabulary of the workdir.
    given.unlink()
    run = experiment.start(config, workdir, training=False)
    assert run.vocabulary.words == tuple(words)
    ids = run.vocabulary.encode("red, circle", 5)
    np.testing.assert_array_equal(ids, [0, 0, 8, 3, 4])


def test_a_vocabulary_for_another_tokenizer_creates_no_workdir(tiny_config, tmp_path):
    given = tmp_path / "published.txt"
    given.write_text("<pad>\n<go>\n<eos>\n<unk>\nred\n")
    config = tiny_config("shapes")
    config.data.vocabulary = str(given)
    with pytest.raises(ValueError, match="config.data.tokenizer='paper' starts with"):
        experiment.start(config, str(tmp_path / "run"), training=True)
    config.data.vocabulary = str(tmp_path / "absent.txt")
    with pytest.raises(FileNotFoundError, match="absent.txt"):
        experiment.start(config, str(tmp_path / "run"), training=True)
    config.data.vocabulary, config.data.tokenizer = "", "words"
    with pytest.raises(ValueError, match="config.data.tokenizer 'words'"):
        experiment.start(config, str(tmp_path / "run"), training=True)
    assert not (tmp_path / "run").exists()


def test_words_of_the_training_split_make_a_released_vocabulary(tiny_config, tmp_path):
    config = tiny_config("shapes")
    config.data.tokenizer, config.data.padding = "released", "left"
    run = experiment.start(config, str(tmp_path / "run"), training=True)
    assert run.vocabulary.special == ("<pad>", "<go>", "<eos>", "<unk>")
    again = experiment.start(config, str(tmp_path / "run"), training=False)
    assert again.vocabulary.words == run.vocabulary.words
    assert not again.vocabulary.unknown("red circle")


def test_a_configuration_without_a_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.data\.dataset is None; name"):
        experiment.start(common.get_config("tiny"), str(tmp_path), training=True)


def test_blanks_between_words_of_a_config_file_have_no_meaning():
    assert common.config_of("tiny, released") == common.config_of("tiny,released")
    make = ablations.row("vme", 2)
    assert make("shapes, released") == make("shapes,released")


def test_files_and_workdir_of_a_run_may_start_with_a_tilde(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = tiny_config("shapes")
    width = config.model.language.width
    (tmp_path / "words.txt").write_text("<pad>\n<unk>\nred\ncircle\n")
    (tmp_path / "glove.txt").write_text("circle" + " 0.5" * width + "\n")
    (tmp_path / "data").symlink_to(config.data.data_dir)
    config.data.vocabulary, config.data.glove = "~/words.txt", "~/glove.txt"
    config.data.data_dir = "~/data"
    run = experiment.start(config, "~/run", training=True)
    assert run.workdir == tmp_path / "run"
    assert run.vocabulary.words[2:] == ("red", "circle")
    # The configuration stays as it was written, so the same command resumes the run.
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["data"]["vocabulary"] == "~/words.txt"
    experiment.start(config, "~/run", training=False)
    assert not (tmp_path / "~").exists()


@pytest.fixture
def free_choice(monkeypatch):
    """Lets JAX choose the platform, and finds neither a GPU nor a choice of one."""
    monkeypatch.setattr(type(jax.config), "jax_platforms", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    parallel.warn_of_unused_accelerator.cache_clear()


@pytest.mark.parametrize(
    ("file", "name", "extra"),
    [
        ("nvidia0", "NVIDIA GPU", "jax[cuda12]"),
        ("nvidia3", "NVIDIA GPU", "jax[cuda12]"),
        ("accel0", "TPU", "jax[tpu]"),
        ("vfio/0", "TPU", "jax[tpu]"),
    ],
)
def test_an_accelerator_that_jax_does_not_use_is_reported_once(
    free_choice, tmp_path, caplog, file, name, extra
):
    (tmp_path / "vfio").mkdir()
    (tmp_path / file).touch()
    parallel.warn_of_unused_accelerator(str(tmp_path))
    parallel.warn_of_unused_accelerator(str(tmp_path))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = record.getMessage()
    assert f"JAX does not use this machine's {name}." in said
    assert f'pip install "{extra}=={jax.__version__}"' in said


@pytest.mark.parametrize("files", [(), ("nvidiactl", "vfio/vfio", "accel"), ("dxg",)])
def test_a_machine_without_an_accelerator_is_no_news(
    free_choice, tmp_path, caplog, files
):
    (tmp_path / "vfio").mkdir()
    for file in files:
        (tmp_path / file).touch()
    parallel.warn_of_unused_accelerator(str(tmp_path))
    assert not caplog.records


def test_windows_with_an_nvidia_driver_has_a_gpu(
    free_choice, tmp_path, caplog, monkeypatch
):
    (tmp_path / "dxg").touch()
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/lib/wsl/lib/{name}")
    parallel.warn_of_unused_accelerator(str(tmp_path))
    assert "NVIDIA GPU" in caplog.text


@pytest.mark.parametrize("choice", ["platform", "hidden"])
def test_a_cpu_chosen_by_the_user_is_no_news(
    free_choice, tmp_path, caplog, monkeypatch, choice
):
    (tmp_path / "nvidia0").touch()
    if choice == "platform":
        monkeypatch.setattr(type(jax.config), "jax_platforms", "cpu")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    parallel.warn_of_unused_accelerator(str(tmp_path))
    assert not caplog.records


def test_training_and_scoring_look_for_accelerators(tiny_config, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        experiment, "warn_of_unused_accelerator", lambda: calls.append(0)
    )
    config = tiny_config("shapes")
    experiment.start(config, str(tmp_path), training=True)
    experiment.start(config, str(tmp_path), training=False)
    assert len(calls) == 2
