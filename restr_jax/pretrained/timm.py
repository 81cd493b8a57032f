"""The layout of timm's `VisionTransformer`, which DeiT and DINO share."""

from restr_jax.pretrained.layout import PATCHES, Row, linear, norm, same
from restr_jax.pretrained.vit import Layout, Names

NAMES = Names(
    outside=[
        same("class_token", "cls_token"),
        same("positions", "pos_embed"),
        Row("patch_embedding/kernel", ("patch_embed.proj.weight",), PATCHES),
        same("patch_embedding/bias", "patch_embed.proj.bias"),
        *norm("norm", "norm"),
    ],
    stack="blocks.",
    block=[
        *norm("norm1", "norm1"),
        *linear("attention/qkv", "attn.qkv"),
        *linear("attention/out", "attn.proj"),
        *norm("norm2", "norm2"),
        *linear("mlp/fc1", "mlp.fc1"),
        *linear("mlp/fc2", "mlp.fc2"),
    ],
)
LAYOUT = Layout(
    name="timm",
    begins=("blocks.", "patch_embed."),
    names=lambda arrays: NAMES,
    dropped={
        r"head\.(weight|bias)": "image classification head",
        r"pre_logits\.fc\.(weight|bias)": "part of the image classification head",
    },
)
