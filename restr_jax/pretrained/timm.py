"""The layout of timm's `VisionTransformer`, which DeiT and DINO share."""

from restr_jax.pretrained.vit import (
    Arrays,
    Layout,
    Source,
    count_blocks,
    dimension,
    norm,
    same,
    torch_linear,
    torch_patches,
)

_PATCHES = "patch_embed.proj"


def _sources(arrays: Arrays) -> list[Source]:
    usual = dimension(arrays, "cls_token", 3, 2, usual=768)
    width = dimension(arrays, f"{_PATCHES}.weight", 4, 0, usual)
    size = dimension(arrays, f"{_PATCHES}.weight", 4, 3, usual=16)
    tokens = dimension(arrays, "pos_embed", 3, 1, usual=197)
    hidden = dimension(arrays, "blocks.0.mlp.fc1.weight", 2, 0, usual=4 * width)
    sources = [
        Source("class_token", {"cls_token": (1, 1, width)}, same),
        Source("positions", {"pos_embed": (1, tokens, width)}, same),
        *torch_patches(_PATCHES, width, size),
        *norm("norm", "norm", width),
    ]
    for i in range(count_blocks(arrays, "blocks.")):
        ours, theirs = f"encoder/block_{i}", f"blocks.{i}"
        sources += [
            *norm(f"{ours}/norm1", f"{theirs}.norm1", width),
            *torch_linear(
                f"{ours}/attention/qkv", [f"{theirs}.attn.qkv"], width, 3 * width
            ),
            *torch_linear(
                f"{ours}/attention/out", [f"{theirs}.attn.proj"], width, width
            ),
            *norm(f"{ours}/norm2", f"{theirs}.norm2", width),
            *torch_linear(f"{ours}/mlp/fc1", [f"{theirs}.mlp.fc1"], width, hidden),
            *torch_linear(f"{ours}/mlp/fc2", [f"{theirs}.mlp.fc2"], hidden, width),
        ]
    return sources


LAYOUT = Layout(
    name="timm",
    begins=("blocks.", "patch_embed."),
    sources=_sources,
    dropped={
        r"head\.(weight|bias)": "image classification head",
        r"pre_logits\.fc\.(weight|bias)": "part of the image classification head",
    },
)
