"""Checks the variants of benchmarks.photos_options and their table."""

import argparse
import functools
import json
import operator

import pytest

from benchmarks import photos_options
from configs import photos


@pytest.mark.parametrize("variant", photos_options.VARIANTS)
def test_a_variant_changes_keys_that_the_config_sets(variant):
    config = photos.get_config("small")
    for key, value in photos_options.VARIANTS[variant].items():
        *parts, name = key.split(".")
        holder = functools.reduce(operator.getitem, parts, config)
        assert holder[name] != value
        holder[name] = value  # Raises if the type differs.


def test_a_command_has_its_variant_after_the_common_keys(tmp_path):
    arguments = argparse.Namespace(data_dir="d", vit="v.npz", glove="g.txt", steps=7)
    words = photos_options.command({"seed": 41}, tmp_path, arguments)
    assert words[-1] == "--config.seed=41"
    assert "--config.optimizer.total_steps=7" in words


def test_the_loss_is_the_mean_of_the_last_lines(tmp_path):
    rows = [{"loss": 9.0}, {"loss": 2.0}, {"loss": 4.0}, {"oiou": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert photos_options.last_loss(tmp_path, lines=2) == 3.0


def test_the_table_has_a_row_per_variant():
    scores = {
        "oiou": 0.5,
        "right": 0.75,
        "right_rivalled": 0.5,
        "empty_of_nothing": 1.0,
        "empty": 0.0,
    }
    text = photos_options.to_markdown(
        {"all options": {"loss": 1.25, "animals": scores, "coco": scores}}
    )
    cells = "0.500 | 75 % | 50 % | 100 % | 0 %"
    assert text.splitlines()[-1] == f"| all options | 1.250 | {cells} | {cells} |"
