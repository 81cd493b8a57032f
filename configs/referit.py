"""ReSTR on ReferIt (text_objseg's files), as the paper trains it.

    python -m tfds_builders.prepare referit --manual_dir=downloads --data_dir=data
    python main.py --config=configs/referit.py --workdir=runs/referit

The paper trains on trainval and reports an IoU of 0.7018 on test. Its val is part of
the training data and cannot select a checkpoint, so the last one is scored. `:tiny` is
a model that a CPU can train. `:released` follows the authors' program instead of the
printed paper.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size and a preset."""
    config = common.config_of(words)
    config.data.dataset = "referit/text_objseg"
    config.data.train_split = "trainval"
    config.eval.splits = "test"
    config.eval.checkpoints = "latest"
    return config
