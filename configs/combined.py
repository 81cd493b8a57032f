"""ReSTR on all four sets at once, without the images that any of them is scored on.

    python -m tfds_builders.prepare unc unc_plus gref/umd gref/google referit \
        --manual_dir=downloads --data_dir=data
    python main.py --config=configs/combined.py --workdir=runs/combined

UNC, UNC+ and both partitions of Gref share COCO's images, so the train split of each
has images that another is scored on; `config.data.exclude` excludes them. The paper has
no such run. `:tiny` is a model that a CPU can train. `:released` follows the authors'
program instead of the printed paper.
"""

import ml_collections

from configs import common

_SCORED = "unc,unc_plus,gref/umd,referit/text_objseg"


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a size and a preset."""
    config = common.config_of(words)
    config.data.dataset = _SCORED
    config.data.exclude = f"{_SCORED},gref/google"
    config.data.val_split = "gref/umd:val"
    config.eval.splits = (
        "unc:val,unc:testA,unc:testB,unc_plus:val,unc_plus:testA,unc_plus:testB,"
        "gref/umd:val,gref/umd:test,gref/google:val,referit/text_objseg:test"
    )
    return config
