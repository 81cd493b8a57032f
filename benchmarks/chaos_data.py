"""Data and configuration of the small run of benchmarks.chaos."""

import pathlib
from typing import Any
from unittest import mock

from configs import common
from tfds_builders import prepare
from tfds_builders.shapes import shapes_dataset_builder

WHAT = (
    "60 steps of a tiny model on 40 scenes of `shapes`, a line of metrics every 5 "
    "steps, a checkpoint every 4, scored every 20."
)
STEPS = 60
_SCENES = {"train": 40, "val": 16, "test": 8}
_CONFIG = """
import json
import ml_collections


def get_config():
    return ml_collections.ConfigDict(json.loads({!r}))
"""


def write_config(folder: pathlib.Path) -> tuple[Any, pathlib.Path]:
    """Builds the data, unless they exist, and writes the configuration.

    Args:
        folder: output folder of both.

    Returns:
        The configuration and its file.
    """
    data = folder / "data"
    if not data.exists():
        with mock.patch.object(shapes_dataset_builder.Builder, "SCENES", _SCENES):
            prepare.prepare("shapes", str(data))
    config = common.get_config("tiny")
    config.data.dataset, config.data.data_dir = "shapes", str(data)
    config.data.max_words, config.data.expressions_per_image = 10, 3
    for part in ("vision", "language", "fusion"):
        config.model[part].width = 32
        config.model[part].mlp_dim = 64
    # Every start traces and compiles these layers.
    config.model.vision.num_layers = config.model.fusion.num_layers = 2
    # Stochastic depth is on, since its random state has to resume too.
    config.model.vision.drop_path_rate = 0.2
    config.optimizer.total_steps, config.optimizer.warmup_steps = STEPS, 5
    config.optimizer.learning_rate = 1e-3
    config.log_every_steps, config.checkpoint_every_steps = 5, 4
    config.eval.every_steps = 20
    config.eval.images_per_device = 2
    config.eval.thresholds = (0.2,)  # No probability exceeds 0.5 this early.
    config.eval.num_figures, config.eval.shuffled_text = 1, False
    file = folder / "config.py"
    if not file.exists():  # Other processes may be reading it.
        file.write_text(_CONFIG.format(config.to_json()))
    return config, file
