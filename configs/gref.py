"""ReSTR on Gref (RefCOCOg), as the paper trains it.

    python -m tfds_builders.prepare gref/google --manual_dir=downloads --data_dir=data
    python main.py --config=configs/gref.py --workdir=runs/gref

The paper reports an IoU of 0.5448 on val after 400,000 steps from a ViT-B/16 that was
pretrained on ImageNet-21k. That is the google partition, whose train and val share
images; `:umd` is the partition without that flaw. `:tiny` is a model that a CPU can
train. `:released` follows the authors' program instead of the printed paper.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size, preset and partition."""
    chosen = common.choose(
        words,
        {
            "size": tuple(common.SIZES),
            "preset": tuple(common.PRESETS),
            "partition": ("google", "umd"),
        },
    )
    config = common.get_config(chosen["size"], chosen["preset"])
    config.data.dataset = f"gref/{chosen['partition']}"
    if chosen["partition"] == "umd":
        config.eval.splits = "val,test"
    return config
