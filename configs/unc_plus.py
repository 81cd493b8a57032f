"""ReSTR on UNC+ (RefCOCO+, unc partition), as the paper trains it.

    python -m tfds_builders.prepare unc_plus --manual_dir=downloads --data_dir=data
    python main.py --config=configs/unc_plus.py --workdir=runs/unc_plus

The paper reports IoUs of 0.5578 on val, 0.6044 on testA and 0.4827 on testB.
`:tiny` is a model that a CPU can train. `:released` follows the authors' program
instead of the printed paper.
"""

import ml_collections

from configs import unc


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size and a preset."""
    config = unc.get_config(words)
    config.data.dataset = "unc_plus"
    return config
