"""The layout of Hugging Face's `ViTModel`, to which other models prefix "vit."."""

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


def _sources(arrays: Arrays) -> list[Source]:
    root = "vit." if any(name.startswith("vit.") for name in arrays) else ""
    embeddings, layers = f"{root}embeddings", f"{root}encoder.layer"
    positions = f"{embeddings}.position_embeddings"
    patches = f"{embeddings}.patch_embeddings.projection"
    usual = dimension(arrays, f"{embeddings}.cls_token", 3, 2, usual=768)
    width = dimension(arrays, f"{patches}.weight", 4, 0, usual)
    size = dimension(arrays, f"{patches}.weight", 4, 3, usual=16)
    tokens = dimension(arrays, positions, 3, 1, usual=197)
    fc1 = f"{layers}.0.intermediate.dense.weight"
    hidden = dimension(arrays, fc1, 2, 0, usual=4 * width)
    sources = [
        Source("class_token", {f"{embeddings}.cls_token": (1, 1, width)}, same),
        Source("positions", {positions: (1, tokens, width)}, same),
        *torch_patches(patches, width, size),
        *norm("norm", f"{root}layernorm", width),
    ]
    for i in range(count_blocks(arrays, f"{layers}.")):
        ours, theirs = f"encoder/block_{i}", f"{layers}.{i}"
        attention = f"{theirs}.attention"
        qkv = [f"{attention}.attention.{name}" for name in ("query", "key", "value")]
        out, fc1, fc2 = (
            f"{attention}.output.dense",
            f"{theirs}.intermediate.dense",
            f"{theirs}.output.dense",
        )
        sources += [
            *norm(f"{ours}/norm1", f"{theirs}.layernorm_before", width),
            *torch_linear(f"{ours}/attention/qkv", qkv, width, width),
            *torch_linear(f"{ours}/attention/out", [out], width, width),
            *norm(f"{ours}/norm2", f"{theirs}.layernorm_after", width),
            *torch_linear(f"{ours}/mlp/fc1", [fc1], width, hidden),
            *torch_linear(f"{ours}/mlp/fc2", [fc2], hidden, width),
        ]
    return sources


LAYOUT = Layout(
    name="huggingface",
    begins=("embeddings.", "encoder.layer.", "vit."),
    sources=_sources,
    dropped={
        r"(vit\.)?pooler\.dense\.(weight|bias)": "pooler of the class token",
        r"classifier\.(weight|bias)": "image classification head",
    },
)
