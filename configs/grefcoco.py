"""ReSTR on gRefCOCO: expressions for one object, for several, and for none.

    python -m tfds_builders.prepare grefcoco --manual_dir=downloads --data_dir=data
    python main.py --config=configs/grefcoco.py --workdir=runs/grefcoco

The paper has no such run. An expression that fits nothing trains on an empty mask, with
the loss of all others. `:tiny` is a model that a CPU can train. `:released` follows the
authors' program instead of the printed paper.
"""

import ml_collections

from configs import common


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size and a preset."""
    config = common.config_of(words)
    config.data.dataset = "grefcoco"
    config.eval.splits = "val,testA,testB"
    return config
