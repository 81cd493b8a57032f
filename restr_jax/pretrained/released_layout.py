"""Table of the parameter names of the authors' released PyTorch program."""

import math
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Conversions of a weight to PyTorch's axis order and back."""

    to_theirs: Callable[[np.ndarray], np.ndarray]
    to_ours: Callable[[np.ndarray], np.ndarray]


def _patches_to_theirs(kernel: np.ndarray) -> np.ndarray:
    side = math.isqrt(kernel.shape[0] // 3)
    return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


_SAME = Layout(lambda x: x, lambda x: x)
_LINEAR = Layout(lambda x: x.T, lambda x: x.T)
_CONV_1X1 = Layout(lambda x: x.T[..., None, None], lambda x: x[..., 0, 0].T)
_CONV_PATCH = Layout(
    _patches_to_theirs, lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])
)
_SEED = Layout(lambda x: x[None], lambda x: x[0])

Row = tuple[str, str, Layout]  # our path, their name, the layout


def _linear(ours: str, theirs: str) -> list[Row]:
    return [
        (f"{ours}/kernel", f"{theirs}.weight", _LINEAR),
        (f"{ours}/bias", f"{theirs}.bias", _SAME),
    ]


def _norm(ours: str, theirs: str) -> list[Row]:
    return [
        (f"{ours}/scale", f"{theirs}.weight", _SAME),
        (f"{ours}/bias", f"{theirs}.bias", _SAME),
    ]


_ENCODERS = [
    ("vision/class_token", "encoder_v.cls_token", _SAME),
    ("vision/positions", "encoder_v.pos_embed", _SAME),
    (
        "vision/patch_embedding/kernel",
        "encoder_v.patch_embed.proj.weight",
        _CONV_PATCH,
    ),
    ("vision/patch_embedding/bias", "encoder_v.patch_embed.proj.bias", _SAME),
    *_norm("vision/norm", "encoder_v.norm"),
    ("language/words/embedding", "encoder_l.embedding.weight", _SAME),
    *_linear("language/project", "encoder_l.proj_lang"),
    *_norm("language/norm", "encoder_l.lang_norm"),
]
_FUSION = [
    ("fusion/seed", "fusion_module.seed_emb", _SEED),
    *_linear("fusion/visual_linear", "fusion_module.proj_v"),
    *_linear("fusion/language_linear", "fusion_module.proj_l"),
    # Used as right factors, so not transposed.
    ("fusion/patch_map/kernel", "fusion_module.proj_patch", _SAME),
    ("fusion/classifier_map/kernel", "fusion_module.proj_cls", _SAME),
]
_BLOCK = [
    *_norm("norm1", "norm1"),
    *_norm("norm2", "norm2"),
    *_linear("attention/qkv", "attn.qkv"),
    *_linear("attention/out", "attn.proj"),
    *_linear("mlp/fc1", "mlp.fc1"),
    *_linear("mlp/fc2", "mlp.fc2"),
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
    yield from _norm("fusion/norm", names.norm)
    for ours, theirs in (_ENCODER_STACKS | names.stacks).items():
        # Shared weights are a single "block", numbered 0.
        start = f"{ours}/"
        blocks = (p[len(start) :].split("/")[0] for p in paths if p.startswith(start))
        for block in dict.fromkeys(blocks):
            number = int(block.partition("_")[2] or 0)
            for our_part, their_part, layout in _BLOCK:
                their_name = f"{theirs}.{number}.{their_part}"
                yield f"{ours}/{block}/{our_part}", their_name, layout
    stages = sum(path.startswith("decoder/linear_") for path in paths)
    for i in range(stages):
        yield (
            f"decoder/linear_{i}/kernel",
            f"{names.stages}.{i}.up.1.weight",
            _CONV_1X1,
        )
    if stages:
        yield "decoder/to_logit/kernel", names.last.format(stages), _CONV_1X1
