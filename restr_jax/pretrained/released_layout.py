"""Table of the parameter names of the authors' released PyTorch program.

Its vision encoder and its blocks are timm's.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from restr_jax.pretrained.layout import Form, Row, linear, norm, same
from restr_jax.pretrained.timm import NAMES as TIMM

_CONV_1X1 = Form(lambda x: [x.T[..., None, None]], lambda x: x[..., 0, 0].T)
_SEED = Form(lambda x: [x[None]], lambda x: x[0])

_ENCODERS = [
    *(row.within("vision/", "encoder_v.") for row in TIMM.outside),
    same("language/words/embedding", "encoder_l.embedding.weight"),
    *linear("language/project", "encoder_l.proj_lang"),
    *norm("language/norm", "encoder_l.lang_norm"),
]
_FUSION = [
    Row("fusion/seed", ("fusion_module.seed_emb",), _SEED),
    *linear("fusion/visual_linear", "fusion_module.proj_v"),
    *linear("fusion/language_linear", "fusion_module.proj_l"),
    # Used as right factors, so not transposed.
    same("fusion/patch_map/kernel", "fusion_module.proj_patch"),
    same("fusion/classifier_map/kernel", "fusion_module.proj_cls"),
]


class Names(NamedTuple):
    """Released names of the parts of a kind of fusion.

    Attributes:
        stacks: names of the blocks, by our encoder.
        norm: the LayerNorm at the end.
        stages: the decoder's numbered stages.
        last: the decoder's last linear; "{}" is the number of stages.
    """

    stacks: dict[str, str]
    norm: str
    stages: str
    last: str


_ENCODER_STACKS = {
    "vision/encoder": "encoder_v.blocks",
    "language/encoder": "encoder_l.blocks",
}
VISUAL_LINGUISTIC = "fusion/visual_linguistic"
_LINGUISTIC_SEED = "fusion/linguistic_seed"
KINDS = {
    "cme": Names(
        {
            VISUAL_LINGUISTIC: "fusion_module.blocks_vl",
            _LINGUISTIC_SEED: "fusion_module.blocks_ls",
        },
        "fusion_module.norm",
        "fusion_module.decoder",
        "fusion_module.decoder.{}.weight",
    ),
    "vme": Names(
        {VISUAL_LINGUISTIC: "fusion_module.blocks"},
        "fusion_module.decoder_norm",
        "fusion_module.upconvs",
        "fusion_module.last_convs.weight",
    ),
    "ime": Names(
        {
            VISUAL_LINGUISTIC: "fusion_module.blocksvl",
            _LINGUISTIC_SEED: "fusion_module.blockslm",
        },
        "fusion_module.decoder_norm",
        "fusion_module.upconvs",
        "fusion_module.last_convs.weight",
    ),
}


def rows(paths: Collection[str], kind: str) -> Iterator[Row]:
    """Yields every weight of a model of the preset `released`.

    Args:
        paths: paths of our parameters, for the numbers of blocks and stages.
        kind: kind of the fusion.
    """
    names = KINDS[kind]
    yield from _ENCODERS
    yield from _FUSION
    yield from norm("fusion/norm", names.norm)
    for ours, theirs in (_ENCODER_STACKS | names.stacks).items():
        # Shared weights are a single "block", numbered 0.
        start = f"{ours}/"
        blocks = (p[len(start) :].split("/")[0] for p in paths if p.startswith(start))
        for block in dict.fromkeys(blocks):
            number = int(block.partition("_")[2] or 0)
            for row in TIMM.block:
                yield row.within(f"{ours}/{block}/", f"{theirs}.{number}.")
    stages = sum(path.startswith("decoder/linear_") for path in paths)
    for i in range(stages):
        name = f"{names.stages}.{i}.up.1.weight"
        yield Row(f"decoder/linear_{i}/kernel", (name,), _CONV_1X1)
    if stages:
        yield Row("decoder/to_logit/kernel", (names.last.format(stages),), _CONV_1X1)
