"""The layout of Hugging Face's `ViTModel`, to which other models prefix "vit.".

Version 5 of transformers renamed the weights of the blocks. Files on the hub keep the
names of version 4; `torch.save(model.state_dict(), ...)` writes those of its version.
"""

from restr_jax.pretrained.layout import PATCHES, Arrays, Row, linear, norm, same
from restr_jax.pretrained.vit import Layout, Names

_PATCHES = "embeddings.patch_embeddings.projection"
_QKV_4 = [f"attention.attention.{name}" for name in ("query", "key", "value")]
_QKV_5 = [f"attention.{name}_proj" for name in "qkv"]
_OUTSIDE = [
    same("class_token", "embeddings.cls_token"),
    same("positions", "embeddings.position_embeddings"),
    Row("patch_embedding/kernel", (f"{_PATCHES}.weight",), PATCHES),
    same("patch_embedding/bias", f"{_PATCHES}.bias"),
    *norm("norm", "layernorm"),
]
_NORMS = [*norm("norm1", "layernorm_before"), *norm("norm2", "layernorm_after")]
_BLOCK_4 = [
    *_NORMS,
    *linear("attention/qkv", *_QKV_4),
    *linear("attention/out", "attention.output.dense"),
    *linear("mlp/fc1", "intermediate.dense"),
    *linear("mlp/fc2", "output.dense"),
]
_BLOCK_5 = [
    *_NORMS,
    *linear("attention/qkv", *_QKV_5),
    *linear("attention/out", "attention.o_proj"),
    *linear("mlp/fc1", "mlp.fc1"),
    *linear("mlp/fc2", "mlp.fc2"),
]


def _names(arrays: Arrays) -> Names:
    root = "vit." if any(name.startswith("vit.") for name in arrays) else ""
    outside = [row.within("", root) for row in _OUTSIDE]
    if any(name.startswith(f"{root}layers.") for name in arrays):
        return Names(outside, f"{root}layers.", _BLOCK_5)
    return Names(outside, f"{root}encoder.layer.", _BLOCK_4)


LAYOUT = Layout(
    name="huggingface",
    begins=("embeddings.", "encoder.layer.", "layers.", "vit."),
    names=_names,
    dropped={
        r"(vit\.)?pooler\.dense\.(weight|bias)": "pooler of the class token",
        r"classifier\.(weight|bias)": "image classification head",
    },
)
