"""The layout of Google's `ViT-B_16.npz`, pretrained or fine-tuned at 384."""

import math

import numpy as np

from restr_jax.pretrained.layout import SAME, Arrays, Form, Row, norm, same
from restr_jax.pretrained.vit import Layout, Names, dimension

_ATTENTION = "MultiHeadDotProductAttention_1"
_PATCHES = Form(
    lambda x: [x.reshape(side := math.isqrt(len(x) // 3), side, 3, x.shape[1])],
    lambda x: x.reshape(math.prod(x.shape[:3]), x.shape[3]),
)
_OUTSIDE = [
    same("class_token", "cls"),
    same("positions", "Transformer/posembed_input/pos_embedding"),
    Row("patch_embedding/kernel", ("embedding/kernel",), _PATCHES),
    same("patch_embedding/bias", "embedding/bias"),
    *norm("norm", "Transformer/encoder_norm", "/scale", "/bias"),
]


def _num_heads(arrays: Arrays) -> int:
    """Returns the heads of the first block with a query kernel; a block may lack it."""
    queries = (name for name in arrays if name.endswith(f"{_ATTENTION}/query/kernel"))
    return dimension(arrays, next(queries, ""), 3, 1, usual=12)


def _names(arrays: Arrays) -> Names:
    block = [
        *norm("norm1", "LayerNorm_0", "/scale", "/bias"),
        *_attention(_num_heads(arrays)),
        *norm("norm2", "LayerNorm_2", "/scale", "/bias"),
        *_linear("mlp/fc1", "MlpBlock_3/Dense_0"),
        *_linear("mlp/fc2", "MlpBlock_3/Dense_1"),
    ]
    return Names(_OUTSIDE, "Transformer/encoderblock_", block, "/")


def _linear(ours: str, theirs: str) -> list[Row]:
    return [
        same(f"{ours}/kernel", f"{theirs}/kernel"),
        same(f"{ours}/bias", f"{theirs}/bias"),
    ]


def _attention(heads: int) -> list[Row]:
    """Returns the rows of attention, whose arrays have a separate axis for heads."""

    def cut(x: np.ndarray, axis: int) -> np.ndarray:
        width = x.shape[axis]
        # A number that does not divide the width fails the comparison of shapes.
        count = math.gcd(heads, width) or 1
        return x.reshape(*x.shape[:axis], count, width // count, *x.shape[axis + 1 :])

    kernel = Form(
        lambda x: [cut(part, 1) for part in np.split(x, 3, axis=1)],
        lambda *qkv: np.concatenate([x.reshape(len(x), -1) for x in qkv], axis=1),
    )
    bias = Form(
        lambda x: [cut(part, 0) for part in np.split(x, 3)],
        lambda *qkv: np.concatenate([x.ravel() for x in qkv]),
    )
    out = Form(lambda x: [cut(x, 0)], lambda x: x.reshape(-1, x.shape[-1]))
    qkv = [f"{_ATTENTION}/{name}" for name in ("query", "key", "value")]
    return [
        Row("attention/qkv/kernel", tuple(f"{name}/kernel" for name in qkv), kernel),
        Row("attention/qkv/bias", tuple(f"{name}/bias" for name in qkv), bias),
        Row("attention/out/kernel", (f"{_ATTENTION}/out/kernel",), out),
        Row("attention/out/bias", (f"{_ATTENTION}/out/bias",), SAME),
    ]


LAYOUT = Layout(
    name="google",
    begins=("Transformer/", "embedding/"),
    names=_names,
    dropped={
        r"head/(kernel|bias)": "image classification head",
        r"pre_logits/(kernel|bias)": "part of the image classification head",
    },
    num_heads=_num_heads,
)
