import copy
import errno
import fcntl
import json
import logging
import os
import shutil
import threading

import numpy as np
import pytest

from restr_jax import experiment
from restr_jax.evaluation import identity, score_run
from restr_jax.evaluation.evaluator import Evaluator


@pytest.fixture
def run_with_plots(shapes_workdir, tmp_path):
    """Returns a config and a copy of the workdir to score in."""
    config, workdir = shapes_workdir
    folder = shutil.copytree(
        workdir, tmp_path / "run", ignore=shutil.ignore_patterns("eval")
    )
    return copy.deepcopy(config), folder


@pytest.fixture
def run_of(run_with_plots, no_plots):
    return run_with_plots


@pytest.fixture
def passes(monkeypatch):
    """Returns a list of the splits that the model has been run on."""
    seen = []
    real = Evaluator.score

    def score(self, params, split, thresholds):
        seen.append(split.name)
        return real(self, params, split, thresholds)

    monkeypatch.setattr(Evaluator, "score", score)
    return seen


def without_places(rows):
    return [{k: v for k, v in row.items() if k != "checkpoint"} for row in rows]


def test_a_sweep_runs_the_model_once_for_all_thresholds(run_with_plots, passes, capsys):
    config, workdir = run_with_plots
    config.eval.checkpoints = "all"
    config.eval.splits = "val,test"
    config.eval.thresholds = (0.35, 0.5, 0.65)
    rows = score_run.score_workdir(config, str(workdir))
    assert passes == ["shapes:val", "shapes:test"] * 2
    assert [(r["split"], r["step"], r["threshold"]) for r in rows] == [
        (split, step, threshold)
        for split in ("test", "val")
        for step in (4, 8)
        for threshold in (0.35, 0.5, 0.65)
    ]
    areas = [r["stretched"]["oiou"] for r in rows]
    assert len(set(areas)) > 1
    printed = capsys.readouterr().out
    assert printed.count("\n| shapes |") == 12
    folder = workdir / "eval"
    assert len(list((folder / "predictions").glob("*.jsonl"))) == 12
    for plot in (
        "iou-by-step",
        "iou-by-length-shapes-val",
        "iou-by-length-shapes-test",
    ):
        assert (folder / "figures" / f"{plot}.png").stat().st_size


def test_a_row_records_its_inputs(run_of):
    config, workdir = run_of
    (row,) = score_run.score_workdir(config, str(workdir))
    run = experiment.start(config, str(workdir), training=False)
    assert row["checkpoint"] == str(workdir / "checkpoints" / "8")
    assert row["checkpoint_id"] == identity.of_params(run.params(8))
    assert row["dataset_id"] == identity.of_split(run.data.scored("val"))
    assert row["version"] == identity.of_code()
    assert (row["preset"], row["resize"], row["threshold"]) == ("paper", "stretch", 0.5)
    assert row["empty_rule"] == "an empty prediction has IoU 0"
    assert (row["num_images"], row["num_expressions"]) == (8, 72)
    assert set(row["precision"]) == {"0.5", "0.6", "0.7", "0.8", "0.9"}
    assert row["ci95"][0] <= row["oiou"] <= row["ci95"][1]
    assert sum(bucket["count"] for bucket in row["by_length"]) == 72
    assert all({"ci95", "paper"} <= bucket.keys() for bucket in row["by_length"])


def test_a_row_records_the_split_that_selected_its_checkpoint(run_of, passes):
    config, workdir = run_of
    config.eval.splits = "val,test"

    def chosen(checkpoints):
        config.eval.checkpoints = checkpoints
        rows = score_run.score_workdir(config, str(workdir))
        assert json.loads((workdir / "eval" / "results.json").read_text()) == rows
        return {(row["split"], row["step"]): row["selected_on"] for row in rows}

    last = {("test", 8): None, ("val", 8): None}
    assert chosen("latest") == last
    # The best checkpoint is the same one, so the scores do not change.
    best = dict.fromkeys(last, "shapes:val")
    assert chosen("best") == best
    assert passes == ["shapes:val", "shapes:test"]
    # Adding rows keeps the mark.
    others = {("test", 4): None, ("val", 4): None}
    assert chosen("all") == best | others
    report = (workdir / "eval" / "report.md").read_text()
    assert report.count("| this split (!) |") == 1
    assert report.count("| shapes:val |") == 1
    assert "the score is biased upwards" in report
    lines = (workdir / "eval" / "results.csv").read_text().splitlines()
    assert [line.count("shapes:val") for line in lines] == [0, 0, 1, 0, 1]


def test_a_killed_sweep_resumes(run_of, tmp_path, monkeypatch):
    config, workdir = run_of
    config.eval.checkpoints, config.eval.splits = "all", "val,test"
    whole = shutil.copytree(workdir, tmp_path / "whole")
    expected = score_run.score_workdir(config, str(whole))

    class Killed(Exception):
        pass

    real, seen = Evaluator.score, []

    def score(self, params, split, thresholds):
        seen.append(split.name)
        for i, scored in enumerate(real(self, params, split, thresholds)):
            if len(seen) == 3 and i == 20:
                raise Killed
            yield scored

    monkeypatch.setattr(Evaluator, "score", score)
    with pytest.raises(Killed):
        score_run.score_workdir(config, str(workdir))
    stopped = json.loads((workdir / "eval" / "results.json").read_text())
    assert len(stopped) == 2
    rows = score_run.score_workdir(config, str(workdir))
    assert len(seen) == 3 + 2
    assert without_places(rows) == without_places(expected)
    for path in (whole / "eval" / "predictions").iterdir():
        ours = workdir / "eval" / "predictions" / path.name
        assert ours.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("what", ["code", "data", "weights", "nothing"])
def test_a_changed_checkpoint_set_or_code_is_scored_again(
    run_of, passes, monkeypatch, what, save_checkpoint
):
    config, workdir = run_of
    (before,) = score_run.score_workdir(config, str(workdir))
    if what == "code":
        monkeypatch.setattr(identity, "of_code", lambda: "0.2.0")
    elif what == "data":
        monkeypatch.setattr(identity, "of_split", lambda split: "other")
    elif what == "weights":
        run = experiment.start(config, str(workdir), training=False)
        shutil.rmtree(workdir / "checkpoints")
        checkpoints = run.checkpoints()
        run.config.seed = 1
        save_checkpoint(run, checkpoints, 8)
        checkpoints.close()
        config.seed = 0
    (after,) = score_run.score_workdir(config, str(workdir))
    assert len(passes) == (1 if what == "nothing" else 2)
    assert (after["oiou"] != before["oiou"]) == (what == "weights")


def test_a_moved_or_relatively_named_workdir_is_not_scored_again(
    run_of, passes, monkeypatch
):
    config, workdir = run_of
    (before,) = score_run.score_workdir(config, str(workdir))
    moved = workdir.rename(workdir.parent / "moved")
    (after,) = score_run.score_workdir(config, str(moved))
    place = {"checkpoint": str(moved / "checkpoints" / "8")}
    assert after == before | place
    assert "| moved |" in (moved / "eval" / "report.md").read_text()
    monkeypatch.chdir(moved.parent)
    assert score_run.score_workdir(config, "moved") == [after]
    assert len(passes) == 1


def test_an_incomplete_checkpoint_is_skipped_with_a_warning(run_of, caplog):
    config, workdir = run_of
    config.eval.checkpoints = "all"
    for file in (workdir / "checkpoints" / "4" / "state").rglob("*"):
        if file.is_file():
            file.unlink()
    with caplog.at_level(logging.WARNING, logger="restr_jax"):
        rows = score_run.score_workdir(config, str(workdir))
    assert [r["step"] for r in rows] == [8]
    assert "skipping unreadable checkpoint 4" in caplog.text
    config.eval.checkpoints = "4"
    with pytest.raises(ValueError, match="No checkpoint is readable"):
        score_run.score_workdir(config, str(workdir))


def test_an_empty_folder_of_checkpoints_is_reported(run_of):
    config, workdir = run_of
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match="There is no checkpoint in"):
        score_run.score_workdir(config, str(workdir))


def test_an_unknown_split_is_reported_with_the_existing_ones(run_of):
    config, workdir = run_of
    config.eval.splits = "testA"
    with pytest.raises(ValueError, match=r"'testA'; it has \['test', 'train', 'val'\]"):
        score_run.score_workdir(config, str(workdir))


@pytest.mark.slow
def test_a_folder_of_workdirs_is_compared(make_workdir, tmp_path, caplog):
    folder = tmp_path / "runs"
    config, _ = make_workdir(folder / "a", steps=(4, 8))
    make_workdir(folder / "b", steps=(4,))
    make_workdir(folder / "untrained", steps=())
    config.eval.checkpoints = str(folder)
    with caplog.at_level(logging.WARNING, logger="restr_jax"):
        rows = score_run.score_workdir(config, str(tmp_path / "compared"))
    assert [r["checkpoint"] for r in rows] == [
        str(folder / "a" / "checkpoints" / "8"),
        str(folder / "b" / "checkpoints" / "4"),
    ]
    assert "untrained, which has no checkpoint" in caplog.text
    predictions = tmp_path / "compared" / "eval" / "predictions"
    assert sorted(path.name for path in predictions.iterdir()) == [
        "a-shapes-val-8-0.5.jsonl",
        "b-shapes-val-4-0.5.jsonl",
    ]
    config.eval.checkpoints = str(tmp_path)
    with pytest.raises(FileNotFoundError, match="folder without trained workdirs"):
        score_run.score_workdir(config, str(tmp_path / "compared"))


def test_a_folder_of_workdirs_is_scored_on_the_available_devices(
    shapes_workdir, no_plots, tmp_path
):
    config, workdir = shapes_workdir
    config, folder = copy.deepcopy(config), tmp_path / "runs"
    shutil.copytree(workdir, folder / "a", ignore=shutil.ignore_patterns("eval"))
    # Trained on sixteen devices; scored and saved at other steps than here.
    theirs = json.loads((folder / "a" / "config.json").read_text())
    theirs["fsdp"], theirs["parallel"], theirs["accumulate_steps"] = 16, "jit", 7
    theirs["checkpoint_every_steps"] = theirs["eval"]["every_steps"] = 3
    # Written by a version without these keys.
    del theirs["data"]["word_dropout"], theirs["optimizer"]["ema_decay"]
    (folder / "a" / "config.json").write_text(json.dumps(theirs))
    config.eval.checkpoints, config.eval.every_steps = str(folder), 4
    (row,) = score_run.score_workdir(config, str(tmp_path / "compared"))
    assert row["step"] == 8 and row["selected_on"] == "shapes:val"
    config.parallel, config.fsdp = "pmap", 1
    score_run.score_workdir(config, str(tmp_path / "again"))
    config.parallel, config.fsdp = "jit", 16
    with pytest.raises(ValueError, match="config.fsdp is 16"):
        score_run.score_workdir(config, str(tmp_path / "again"))


@pytest.mark.slow
def test_watching_scores_each_new_checkpoint(run_of, monkeypatch, save_checkpoint):
    config, workdir = run_of
    config.eval.watch = True
    monkeypatch.setattr(score_run, "_POLL_SECONDS", 0.1)
    run = experiment.start(config, str(workdir), training=False)
    checkpoints = run.checkpoints()

    def train_on():
        results = workdir / "eval" / "results.json"
        while not results.exists() or len(json.loads(results.read_text())) < 2:
            pass
        save_checkpoint(run, checkpoints, config.optimizer.total_steps)

    trainer = threading.Thread(target=train_on)
    trainer.start()
    rows = score_run.score_workdir(config, str(workdir))
    trainer.join()
    checkpoints.close()
    assert [row["step"] for row in rows] == [4, 8, 12]


def test_names_depend_on_every_value(shapes_workdir, opened):
    config, workdir = shapes_workdir
    run = experiment.start(config, str(workdir), training=False)
    params = run.params(8)
    name = identity.of_params(params)
    assert (
        name == identity.of_params(run.params(8)) != identity.of_params(run.params(4))
    )
    array = params["fusion"]["seed"]
    array[0, 0] = np.nextafter(array[0, 0], np.inf)
    assert identity.of_params(params) != name
    names = {identity.of_split(run.data.scored(split)) for split in ("val", "test")}
    assert len(names) == 2
    assert identity.of_split(run.data.scored("val")) in names


def test_the_version_names_a_commit_in_a_checkout_only(monkeypatch, tmp_path):
    assert identity.of_code().startswith("0.1.0")
    monkeypatch.setattr(identity, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert identity.of_code() == "0.1.0"


@pytest.mark.parametrize("name", ["best", "latest", "all", "8", "4,8"])
def test_a_folder_is_not_taken_for_a_choice_of_checkpoints(
    run_of, name, tmp_path, monkeypatch
):
    config, workdir = run_of
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    config.eval.checkpoints = name
    seen = []
    monkeypatch.setattr(
        score_run, "score_checkpoints", lambda run, *_: seen.append(run.workdir) or []
    )
    score_run.score_workdir(config, str(workdir))
    assert seen == [workdir]
    config.eval.checkpoints = f"./{name}"
    with pytest.raises(FileNotFoundError, match="is a folder without trained workdirs"):
        score_run.score_workdir(config, str(workdir))


def test_paths_of_a_configuration_may_start_with_a_tilde(run_of, tmp_path, monkeypatch):
    config, workdir = run_of
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(config.data.data_dir)
    (tmp_path / "runs").mkdir()
    config.data.data_dir, config.eval.checkpoints = "~/data", "~/runs"
    with pytest.raises(FileNotFoundError, match=f"={tmp_path}/runs is a folder"):
        score_run.score_workdir(config, "~/compared")
    config.eval.checkpoints = "best"
    (row,) = score_run.score_workdir(config, f"~/{workdir.name}")
    assert row["checkpoint"] == str(workdir / "checkpoints" / "8")
    assert (workdir / "eval" / "results.json").exists()


def test_a_sweep_ends_where_nothing_can_be_locked(run_of, monkeypatch, caplog):
    config, workdir = run_of

    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    (row,) = score_run.score_workdir(config, str(workdir))
    assert json.loads((workdir / "eval" / "results.json").read_text()) == [row]
    assert caplog.text.count("cannot be locked (No locks available)") == 1


def test_a_folder_that_takes_no_results_is_found_before_scoring(run_of, passes):
    config, workdir = run_of
    (workdir / "eval").touch()
    with pytest.raises(OSError, match="eval cannot be written to"):
        score_run.score_workdir(config, str(workdir))
    (workdir / "eval").unlink()
    (workdir / "eval" / ".lock").mkdir(parents=True)
    with pytest.raises(OSError, match="eval cannot be written to"):
        score_run.score_workdir(config, str(workdir))
    assert passes == []
