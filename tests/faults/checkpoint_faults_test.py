"""Runs with damaged checkpoints, or with checkpoints that cannot be written."""

import errno
import logging
import shutil

import jax
import numpy as np
import pytest

from restr_jax import experiment, train
from restr_jax.parallel import Parallel
from restr_jax.training.train_state import Progress
from restr_jax.workdir import checkpoint, checkpoint_errors, fingerprint


@pytest.fixture
def copied(trained, tmp_path):
    """Returns config and copied workdir of a run with checkpoints 4 and 8."""
    config, workdir = trained
    scores = shutil.ignore_patterns("eval")
    return config, shutil.copytree(workdir, tmp_path / "run", ignore=scores)


def restore(run, workdir):
    checkpoints = checkpoint.Checkpoints(str(workdir), run.config.keep_checkpoints)
    try:
        restored = checkpoints.restore_latest(run.abstract_state)
        return restored._replace(state=jax.device_get(restored.state))
    finally:
        checkpoints.close()


def damage(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        # Every hundredth bit: a single one may hit unused bytes.
        for i in range(0, 8 * len(content), 100):
            content[i // 8] ^= 1 << (i % 8)
    path.write_bytes(b"" if kind == "empty" else content[: len(content) // 2])
    if kind == "flipped":
        path.write_bytes(content)
    if kind == "missing":
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flipped", "cut", "empty", "missing"])
def test_any_damage_falls_back_to_the_previous_checkpoint(
    copied, tmp_path, caplog, kind
):
    config, workdir = copied
    run = experiment.start(config, str(workdir), training=False)
    good = restore(run, workdir)
    files = [f for f in (workdir / "checkpoints" / "8").rglob("*") if f.is_file()]
    assert len(files) >= 8
    back = 0
    for number, file in enumerate(files):
        spoiled = shutil.copytree(workdir, tmp_path / f"spoiled{number}")
        damage(spoiled / file.relative_to(workdir), kind)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="restr_jax"):
            restored = restore(run, spoiled)
        if int(restored.state.step) == 4:
            back += 1
            assert "heckpoint 8 in" in caplog.text and "damaged" in caplog.text
            assert (spoiled / "damaged" / "8-0").is_dir()
            assert not (spoiled / "checkpoints" / "8").exists()
            continue
        # Files that are never read.
        jax.tree.map(np.testing.assert_array_equal, restored.state, good.state)
        assert (restored.progress, restored.scored) == (good.progress, good.scored)
    assert back >= 5


def test_a_single_flipped_bit_of_any_array_is_detected():
    rng = np.random.default_rng(0)
    tree = {
        "a": {"b": rng.normal(size=(7, 5, 3)).astype(np.float32)},
        "c": np.arange(11, dtype=np.int32),
        "d": np.int32(3),
    }
    known = fingerprint.of_tree(tree)
    for _ in range(60):
        other = jax.tree.map(np.array, tree)
        leaf = other["a"]["b"] if rng.random() < 0.5 else other["c"]
        words = leaf.view(np.uint32).reshape(-1)
        words[rng.integers(words.size)] ^= np.uint32(1) << np.uint32(rng.integers(32))
        assert fingerprint.of_tree(other) != known
    swapped = dict(tree, c=tree["c"][::-1].copy())
    assert fingerprint.of_tree(swapped) != known
    # The layout on devices does not matter.
    assert fingerprint.of_tree(jax.device_put(tree, jax.devices()[3])) == known


def test_a_fingerprint_does_not_depend_on_layout_or_version(monkeypatch):
    monkeypatch.setattr("restr_jax.parallel._LEAST_SHARDED", 1)
    integers = np.arange(640, dtype=np.int32).reshape(4, 8, 20) * 7919
    tree = {"a": {"b": integers, "c": integers[0, :, :3]}, "d": np.float32(1.5)}
    # The value of the earlier checksum on devices: old checkpoints stay readable.
    assert fingerprint.of_tree(tree) == 1181044080
    for fsdp in (1, 2, 4, 8):
        placed = Parallel("jit", fsdp).place(tree)
        assert fingerprint.of_tree(placed) == 1181044080


def test_without_an_intact_checkpoint_training_does_not_restart(copied):
    config, workdir = copied
    for step in ("4", "8"):
        shutil.rmtree(workdir / "checkpoints" / step / "state")
    with pytest.raises(checkpoint.DamagedCheckpointError, match="Checkpoint 8 in"):
        train.train_and_evaluate(config, str(workdir))
    assert (workdir / "checkpoints" / "8").exists()


@pytest.mark.slow
def test_a_run_resumed_from_the_previous_checkpoint_ends_the_same(copied):
    config, workdir = copied
    run = experiment.start(config, str(workdir), training=False)
    good, history = restore(run, workdir), (workdir / "metrics.jsonl").read_text()
    shutil.rmtree(workdir / "checkpoints" / "8" / "state")
    train.train_and_evaluate(config, str(workdir))
    again = restore(run, workdir)
    jax.tree.map(np.testing.assert_array_equal, again.state, good.state)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(history.splitlines())
    assert lines[:3] == history.splitlines()[:3]  # steps 2 and 4, and its score


def test_a_full_disk_is_reported_with_the_last_intact_checkpoint(copied, monkeypatch):
    config, workdir = copied
    shutil.rmtree(workdir / "checkpoints" / "8")
    run = experiment.start(config, str(workdir), training=True)
    checkpoints = run.checkpoints()
    restored = checkpoints.restore_latest(run.abstract_state)

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    name = "save_checkpointables_async"
    monkeypatch.setattr(type(checkpoints._checkpointer), name, refuse)
    with pytest.raises(OSError, match=r"Checkpoint 8 .*No space left.* 4 is intact"):
        checkpoints.save(8, restored.state, None, Progress())
    checkpoints.close()
    assert restore(run, workdir).state.step == 4


def test_progress_is_saved_and_signed():
    window = ({"loss": 0.1, "count": 3.0}, {"loss": 1e-7, "count": 8.0})
    card = fingerprint.sign({"progress": {"lines": 3, "window": list(window)}})
    fingerprint.check(card, {})
    with pytest.raises(ValueError, match="metadata differ"):
        fingerprint.check(card | {"progress": {"lines": 2}}, {})


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error writing /w/4/d [OS error 28: ENOSPC No space left on device]", OSError),
        (
            "RESOURCE_EXHAUSTED: Failed to write ... No space left on device "
            "[os_error_code='28']",
            OSError,
        ),
        ("INVALID_ARGUMENT: dtype", RuntimeError),
    ],
)
def test_a_full_disk_is_told_from_other_faults(said, kind, tmp_path):
    (tmp_path / "4").mkdir()
    error = checkpoint_errors.not_written(ValueError(said), tmp_path, 8)
    assert type(error) is kind and "4 is intact" in str(error)
    assert ("Free some disk space" in str(error)) == (kind is OSError)
