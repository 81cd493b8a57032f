"""The rows of the paper's Tables 3b, 4 and 5, one file each.

    python main.py --config=configs/ablations/ime_4.py --workdir=runs/ime_4
    python main.py --config=configs/ablations/ime_4.py:shapes --workdir=runs/ime_4

A row changes configs/gref.py and accepts its words. With the word `shapes` it changes
configs/shapes.py and accepts that file's words. Files are named kind_layers, then
`shared` for the paper's dagger and `decoder` for a model with a decoder.
"""

from collections.abc import Callable

import ml_collections

from configs import gref, shapes


def row(
    kind: str = "cme",
    num_layers: int = 4,
    *,
    share_weights: bool = False,
    decoder: bool = False,
    table_5: bool = False,
) -> Callable[[str], ml_collections.ConfigDict]:
    """Returns the `get_config` of a row.

    Args:
        kind: kind of the fusion.
        num_layers: total number of layers in the fusion.
        share_weights: one layer's weights in each encoder of the fusion.
        decoder: whether the model has a decoder. Without one, the patches are the
            prediction and the pixel loss is the only loss, as in the released program.
        table_5: sets the input of 320 x 320 and the language MLP of 1200 that match
            Table 5's figures; has no effect with `shapes`.
    """

    def get_config(words: str = "") -> ml_collections.ConfigDict:
        given = [word.strip() for word in words.split(",")]
        on_shapes = "shapes" in given
        others = ",".join(word for word in given if word != "shapes")
        config = (shapes if on_shapes else gref).get_config(others)
        config.model.fusion.kind = kind
        config.model.fusion.num_layers = num_layers
        config.model.fusion.share_weights = share_weights
        config.model.decoder = decoder
        if not decoder:
            config.loss.patch_weight = 0.0
        if table_5 and not on_shapes:
            config.model.image_size = (320, 320)
            config.model.language.mlp_dim = 1200
        return config

    return get_config
