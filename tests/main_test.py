import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags
from PIL import Image

from configs import shapes
from restr_jax import command_line
from restr_jax.evaluation import score_run
from restr_jax.inference import predict

ROOT = pathlib.Path(__file__).parent.parent


def run_main(*arguments):
    """Runs the command as a user would, on one device."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def assert_says(result, *parts):
    """Asserts that the last line has the message and no traceback precedes it."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


def test_training_writes_the_files_listed_in_the_readme(trained):
    config, workdir = trained
    (row,) = json.loads((workdir / "eval" / "results.json").read_text())
    assert row["dataset"] == "shapes" and row["split"] == "val"
    assert {"oiou", "miou", "precision", "stretched", "by_length", "by_kind"} <= set(
        row
    )
    assert set(row["by_kind"]) == {"attribute", "superlative", "relation"}
    assert 0.0 <= row["oiou_shuffled_text"] <= 1.0
    for file in ("config.json", "metrics.jsonl", "vocabulary.txt", "eval/report.md"):
        assert (workdir / file).stat().st_size
    assert (workdir / "eval" / "results.csv").stat().st_size
    assert list(workdir.glob("events.out.tfevents.*"))
    figures = workdir / "eval" / "figures"
    # The tiny config asks for one.
    (case,) = figures.glob(f"shapes-val-{row['step']}-*.jpg")
    page = (figures / "index.html").read_text()
    assert f'src="{case.name}"' in page and f"<dd>{row['oiou']:.3f}</dd>" in page
    (predictions,) = (workdir / "eval" / "predictions").glob("*.jsonl")
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert len(lines) == row["num_expressions"]
    assert row["oiou"] == sum(x["intersection"] for x in lines) / sum(
        x["union"] for x in lines
    )


def test_scoring_alone_repeats_the_numbers_and_sweeps_checkpoints(trained):
    config, workdir = trained
    (row,) = json.loads((workdir / "eval" / "results.json").read_text())
    config.eval.checkpoints = "all"
    rows = score_run.score_workdir(config, str(workdir))
    assert [r["step"] for r in rows] == [4, 8]
    assert row in rows
    config.eval.checkpoints = "5"
    with pytest.raises(
        FileNotFoundError, match=r"Unknown checkpoints '5'; choose from \[4"
    ):
        score_run.score_workdir(config, str(workdir))
    config.eval.checkpoints = "best"


def test_pmap_gives_the_scores_of_jit(trained):
    config, workdir = trained
    config.eval.checkpoints = "latest"
    scores = []
    for config.parallel in ("jit", "pmap"):
        rows = score_run.score_workdir(config, str(workdir))
        scores.append(next(r for r in rows if r["step"] == 8))
    config.parallel, config.eval.checkpoints = "jit", "best"
    assert scores[0]["num_expressions"] == scores[1]["num_expressions"] == 72
    # A pixel may flip where the modes round a logit differently.
    assert scores[0]["oiou"] == pytest.approx(scores[1]["oiou"], abs=1e-3)


def test_predicting_uses_only_the_config_of_the_workdir(trained, tmp_path, testdata):
    config, workdir = trained
    photograph = str(next(testdata.rglob("COCO_train2014_*.jpg")))
    output = str(tmp_path / "out")
    arguments = str(workdir), [photograph], ["the large red circle"], output
    (row,) = predict.predict_workdir(config, *arguments)
    assert row["image"] == photograph
    other = config.copy_and_resolve_references()
    other.data.max_words = 7
    with pytest.raises(ValueError, match="data.max_words: 10 there, 7 now"):
        predict.predict_workdir(other, *arguments)


def test_predicting_and_scoring_need_a_trained_workdir(tiny_config, tmp_path):
    config = tiny_config("shapes")
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        score_run.score_workdir(config, str(tmp_path))
    with pytest.raises(ValueError, match="at least one image"):
        predict.predict_workdir(config, str(tmp_path), [], ["red circle"], "out")
    image = tmp_path / "image.png"
    Image.new("RGB", (8, 8)).save(image)
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        predict.predict_workdir(config, str(tmp_path), [str(image)], ["dog"], "out")


def test_the_command_line_reports_errors_without_a_traceback(tmp_path):
    common = ("--config=configs/shapes.py", f"--workdir={tmp_path}")
    assert_says(
        run_main(*common, "--config.optimizer.speed=3"), "no config key 'speed'"
    )
    assert_says(
        run_main("--config=configs/shapes.py:tall", *common[1:]), "Cannot use 'tall'"
    )
    assert_says(run_main(*common, "--mood=eval"), "command line flag 'mood'")
    assert_says(
        run_main(*common, f"--config.data.data_dir={tmp_path}"),
        "FileNotFoundError: There is no data set 'shapes'",
        "python -m tfds_builders.prepare shapes",
    )


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_the_config_file_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(ROOT / "configs" / "shapes.py", tmp_path / "mine.py")
    argv = ["main.py", "--config=~/mine.py:long", "--config.data.data_dir=~/data"]
    known = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=known)
    monkeypatch.setattr(command_line.flags, "FLAGS", known)
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line._parse_flags(argv) == ["main.py"]
    total = shapes.get_config("long").optimizer.total_steps
    assert config.value.optimizer.total_steps == total
    assert config.value.data.data_dir == "~/data"  # It is read where it is used.
    monkeypatch.setattr(command_line.flags, "FLAGS", flags.FlagValues())
    with pytest.raises(SystemExit, match="'~no-one/a.py' starts with the home folder"):
        command_line._parse_flags(["main.py", "--config=~no-one/a.py"])
