"""ReSTR on UNC (RefCOCO, unc partition), as the paper trains it.

    python -m tfds_builders.prepare unc --manual_dir=downloads --data_dir=data
    python main.py --config=configs/unc.py --workdir=runs/unc

The paper reports IoUs of 0.6722 on val, 0.6930 on testA and 0.6445 on testB.
`:tiny` is a model that a CPU can train. `:released` follows the authors' program
instead of the printed paper.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size and a preset."""
    config = common.config_of(words)
    config.data.dataset = "unc"
    config.eval.splits = "val,testA,testB"
    return config
