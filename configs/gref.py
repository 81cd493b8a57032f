"""ReSTR on Gref (RefCOCOg, google partition), as the paper trains it.

    python -m tfds_builders.prepare gref --manual_dir=downloads --data_dir=data
    python main.py --config=configs/gref.py --workdir=runs/gref

The paper reports an IoU of 0.5448 on val after 400,000 steps from a ViT-B/16 that was
pre-trained on ImageNet-21k. `:tiny` is a model that a CPU can train.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size."""
    chosen = common.choose(words, {"size": tuple(common.SIZES)})
    config = common.get_config(chosen["size"])
    config.data.dataset = "gref"
    return config
