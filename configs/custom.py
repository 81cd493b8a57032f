"""ReSTR on images, expressions and masks of your own.

    python -m tfds_builders.prepare custom --manual_dir=mine --data_dir=data
    python main.py --config=configs/custom.py --workdir=runs/custom

tfds_builders/custom/README.md describes the content of the folder `mine`. The settings
are the paper's, for a large set. `:tiny` is a model that a CPU can train from scratch
in minutes, to check a set. If there are several sets, name one:
--config.data.dataset=custom/NAME.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size."""
    chosen = common.choose(words, {"size": tuple(common.SIZES)})
    config = common.get_config(chosen["size"])
    config.data.dataset = "custom"
    if chosen["size"] == "tiny":
        # From scratch and on few images: large steps, and metrics every minute.
        config.optimizer.total_steps = 2_000
        config.optimizer.warmup_steps = 50
        config.optimizer.learning_rate = 1e-3
        config.optimizer.clip_norm = 1.0
        config.log_every_steps = 50
        config.checkpoint_every_steps = 200
        config.eval.every_steps = 400
    return config
