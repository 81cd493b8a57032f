"""The layout of Hugging Face's `ViTModel`, to which other models prefix "vit."."""

from restr_jax.pretrained.layout import PATCHES, Arrays, Row, linear, norm, same
from restr_jax.pretrained.vit import Layout, Names

_PATCHES = "embeddings.patch_embeddings.projection"
_QKV = [f"attention.attention.{name}" for name in ("query", "key", "value")]
_OUTSIDE = [
    same("class_token", "embeddings.cls_token"),
    same("positions", "embeddings.position_embeddings"),
    Row("patch_embedding/kernel", (f"{_PATCHES}.weight",), PATCHES),
    same("patch_embedding/bias", f"{_PATCHES}.bias"),
    *norm("norm", "layernorm"),
]
_BLOCK = [
    *norm("norm1", "layernorm_before"),
    *linear("attention/qkv", *_QKV),
    *linear("attention/out", "attention.output.dense"),
    *norm("norm2", "layernorm_after"),
    *linear("mlp/fc1", "intermediate.dense"),
    *linear("mlp/fc2", "output.dense"),
]


def _names(arrays: Arrays) -> Names:
    root = "vit." if any(name.startswith("vit.") for name in arrays) else ""
    outside = [row.within("", root) for row in _OUTSIDE]
    return Names(outside, f"{root}encoder.layer.", _BLOCK)


LAYOUT = Layout(
    name="huggingface",
    begins=("embeddings.", "encoder.layer.", "vit."),
    names=_names,
    dropped={
        r"(vit\.)?pooler\.dense\.(weight|bias)": "pooler of the class token",
        r"classifier\.(weight|bias)": "image classification head",
    },
)
