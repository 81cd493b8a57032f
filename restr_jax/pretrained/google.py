"""The layout of Google's `ViT-B_16.npz`, pretrained or fine-tuned at 384."""

import numpy as np

from restr_jax.pretrained.vit import (
    Arrays,
    Layout,
    Source,
    count_blocks,
    dimension,
    norm,
    same,
)

_BLOCK = "Transformer/encoderblock_"
_POSITIONS = "Transformer/posembed_input/pos_embedding"
_ATTENTION = "MultiHeadDotProductAttention_1"


def _num_heads(arrays: Arrays) -> int:
    """Returns the heads of the first block with a query kernel; a block may lack it."""
    queries = (name for name in arrays if name.endswith(f"{_ATTENTION}/query/kernel"))
    return dimension(arrays, next(queries, ""), 3, 1, usual=12)


def _sources(arrays: Arrays) -> list[Source]:
    usual = dimension(arrays, "cls", 3, 2, usual=768)
    width = dimension(arrays, "embedding/kernel", 4, 3, usual)
    size = dimension(arrays, "embedding/kernel", 4, 0, usual=16)
    tokens = dimension(arrays, _POSITIONS, 3, 1, usual=197)
    fc1 = f"{_BLOCK}0/MlpBlock_3/Dense_0/kernel"
    hidden = dimension(arrays, fc1, 2, 1, usual=4 * width)
    sources = [
        Source("class_token", {"cls": (1, 1, width)}, same),
        Source("positions", {_POSITIONS: (1, tokens, width)}, same),
        Source(
            "patch_embedding/kernel",
            {"embedding/kernel": (size, size, 3, width)},
            lambda x: x.reshape(-1, width),
        ),
        Source("patch_embedding/bias", {"embedding/bias": (width,)}, same),
        *norm("norm", "Transformer/encoder_norm", width, "scale"),
    ]
    for i in range(count_blocks(arrays, _BLOCK)):
        ours, theirs = f"encoder/block_{i}", f"{_BLOCK}{i}"
        sources += [
            *norm(f"{ours}/norm1", f"{theirs}/LayerNorm_0", width, "scale"),
            *_attention(
                f"{ours}/attention", f"{theirs}/{_ATTENTION}", width, _num_heads(arrays)
            ),
            *norm(f"{ours}/norm2", f"{theirs}/LayerNorm_2", width, "scale"),
            *_linear(f"{ours}/mlp/fc1", f"{theirs}/MlpBlock_3/Dense_0", width, hidden),
            *_linear(f"{ours}/mlp/fc2", f"{theirs}/MlpBlock_3/Dense_1", hidden, width),
        ]
    return sources


def _linear(ours: str, theirs: str, width: int, out: int) -> list[Source]:
    return [
        Source(f"{ours}/kernel", {f"{theirs}/kernel": (width, out)}, same),
        Source(f"{ours}/bias", {f"{theirs}/bias": (out,)}, same),
    ]


def _attention(ours: str, theirs: str, width: int, heads: int) -> list[Source]:
    """Lists the arrays of an attention layer, which have a separate axis for heads."""
    per_head = width // max(heads, 1)
    qkv = [f"{theirs}/{name}" for name in ("query", "key", "value")]
    return [
        Source(
            f"{ours}/qkv/kernel",
            {f"{name}/kernel": (width, heads, per_head) for name in qkv},
            lambda *qkv: np.concatenate([x.reshape(width, -1) for x in qkv], axis=1),
        ),
        Source(
            f"{ours}/qkv/bias",
            {f"{name}/bias": (heads, per_head) for name in qkv},
            lambda *qkv: np.concatenate([x.ravel() for x in qkv]),
        ),
        Source(
            f"{ours}/out/kernel",
            {f"{theirs}/out/kernel": (heads, per_head, width)},
            lambda x: x.reshape(-1, width),
        ),
        Source(f"{ours}/out/bias", {f"{theirs}/out/bias": (width,)}, same),
    ]


LAYOUT = Layout(
    name="google",
    begins=("Transformer/", "embedding/"),
    sources=_sources,
    dropped={
        r"head/(kernel|bias)": "image classification head",
        r"pre_logits/(kernel|bias)": "part of the image classification head",
    },
    num_heads=_num_heads,
)
