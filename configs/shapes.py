"""A tiny ReSTR on scenes of coloured shapes: the whole workflow without a download.

    python -m tfds_builders.prepare shapes --data_dir=data
    python main.py --config=configs/shapes.py --workdir=runs/shapes

The default trains for eight minutes on two CPU cores, `:long` for five times as long.
`:released` follows the authors' program instead of the printed paper.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name the long run and a preset."""
    chosen = common.choose(
        words, {"duration": ("short", "long"), "preset": tuple(common.PRESETS)}
    )
    config = common.get_config("tiny", chosen["preset"])
    config.data.dataset = "shapes"
    config.data.max_words = 10  # the longest expression of the scenes' grammar
    config.data.expressions_per_image = 9  # all expressions of a scene
    config.batch_size = 4
    config.model.image_size = (32, 32)
    # A fine grid: the decoder only interpolates between patches, so an object has to
    # cover several.
    config.model.patch_size = 4
    # From scratch, the patch loss is the first to teach the position of an object.
    # Small shapes rarely cover 80 % of a patch.
    config.loss.patch_weight = 1.0
    config.loss.patch_threshold = min(config.loss.patch_threshold, 0.3)
    config.optimizer.total_steps = 3_200
    config.optimizer.warmup_steps = 200
    config.optimizer.learning_rate = 1e-3
    config.optimizer.beta2 = 0.98
    config.optimizer.clip_norm = 1.0
    config.optimizer.lr_scale.vision = 1.0  # Nothing is pretrained.
    config.checkpoint_every_steps = 400
    config.eval.every_steps = 1_600
    config.eval.splits = "test"
    config.eval.images_per_device = 20
    config.eval.shuffled_text = True
    if chosen["duration"] == "long":
        # As many patches, with four times the pixels: finer edges, distinct circles.
        config.model.image_size = (64, 64)
        config.model.patch_size = 8
        config.optimizer.total_steps = 12_000
        config.checkpoint_every_steps = 1_000
        config.eval.every_steps = 4_000
    return config
