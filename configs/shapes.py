"""A tiny ReSTR on scenes of coloured shapes: the main job without any download.

    python -m tfds_builders.prepare shapes --data_dir=data
    python main.py --config=configs/shapes.py --workdir=runs/shapes

The default trains for minutes on two CPU cores; `:long` for an hour and a half.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may ask for the long run."""
    chosen = common.choose(words, {"duration": ("short", "long")})
    config = common.get_config("tiny")
    config.data.dataset = "shapes"
    config.data.max_words = 10
    config.data.expressions_per_image = 9
    config.batch_size = 8
    config.model.image_size = (32, 32)
    config.model.vision.drop_path_rate = 0.0
    config.model.fusion.drop_path_rate = 0.0
    config.loss.patch_weight = 1.0
    config.loss.patch_threshold = 0.2
    config.optimizer.total_steps = 2_400
    config.optimizer.warmup_steps = 200
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.checkpoint_every_steps = 400
    config.eval.every_steps = 1_200
    config.eval.splits = "test"
    config.eval.batch_size = 40
    config.eval.expressions_per_image = 9
    config.eval.shuffled_text = True
    if chosen["duration"] == "long":
        config.optimizer.total_steps = 28_000
        config.checkpoint_every_steps = 1_000
        config.eval.every_steps = 4_000
    return config
