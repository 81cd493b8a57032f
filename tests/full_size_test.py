import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.slow
def test_the_full_size_model_trains_and_is_scored_on_a_cpu(gref_dir, tmp_path):
    # In its own process: eight copies on eight fake devices would not fit.
    changes = {
        "data.data_dir": gref_dir,
        "batch_size": 1,
        "optimizer.total_steps": 3,
        "optimizer.warmup_steps": 1,
        "log_every_steps": 1,
        "checkpoint_every_steps": 3,
        "eval.every_steps": 3,
        "eval.images_per_device": 1,
    }
    subprocess.run(
        [
            sys.executable,
            "main.py",
            "--config=configs/gref.py",
            f"--workdir={tmp_path}",
            *(f"--config.{key}={value}" for key, value in changes.items()),
        ],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
    )
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    # The first update has a learning rate of 0; the second one changes the third loss.
    assert losses[2] != losses[1]
    (row,) = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert row["num_expressions"] == 2 and row["paper"] == 0.5448
