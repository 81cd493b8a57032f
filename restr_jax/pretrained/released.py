"""Reads and writes the state dict of the authors' released PyTorch program.

`load` accepts models of any size. `to_released` converts a model of the preset
`released` for PyTorch users.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from restr_jax.models import build_model, parameters, strict
from restr_jax.pretrained import layout, weight_files
from restr_jax.pretrained.layout import Arrays, Row
from restr_jax.pretrained.released_layout import KINDS, VISUAL_LINGUISTIC, rows

# The keys of config.model that all released models have in common.
_SAME_FOR_ALL = {
    "scale_scores": False,
    "sigmoid_gate": False,
    "decode_projected": True,
    "remat": "none",
    "vision": {
        "init_std": 0.02,
        "drop_path_rate": 0.1,
        "positions_init": "normal",
        "conv_init": True,
        "class_token": True,
        "resize_by_count": True,
    },
    "language": {
        "init_std": 0.02,
        "post_norm": True,
        "mask_padding": False,
        "project": True,
    },
    "fusion": {
        "init_std": 0.02,
        "input_std": 0.02,
        "drop_path_rate": 0.1,
        "zero_padding": True,
        "mask_padding": False,
        "coordinates": False,
        "norm_each": False,
        "map_outputs": True,
    },
}


def to_released(params: Any, kind: str = "cme") -> dict[str, np.ndarray]:
    """Returns a model's parameters under the released names, for PyTorch.

    The unused classification head of the released encoder is set to zero.

    Args:
        params: parameters of a model of the preset `released`.
        kind: kind of its fusion.

    Raises:
        ValueError: if the layout lacks some parameters, as for the preset `paper`.
    """
    ours = {path: np.asarray(x) for path, x in parameters.flatten(params).items()}
    table = _table(parameters.shapes(ours), kind)
    theirs = layout.to_theirs(table, ours) | _head(ours["vision/norm/scale"].size)
    # File formats need contiguous arrays instead of transposed views.
    return {name: np.ascontiguousarray(x) for name, x in theirs.items()}


def _table(shapes: Mapping[str, strict.Shape], kind: str) -> list[Row]:
    """Returns the rows of a model, given the shapes of its parameters."""
    table = list(rows(shapes, kind))
    strict.check(
        shapes,
        {row.ours: None for row in table},
        "The model for the released layout",
        "Only models of the preset `released` have this layout.",
    )
    return table


def _head(width: int) -> dict[str, np.ndarray]:
    """Returns the classification head that the released encoder never uses."""
    return {
        "encoder_v.head.weight": np.zeros((1000, width), np.float32),
        "encoder_v.head.bias": np.zeros(1000, np.float32),
    }


def from_released(arrays: Arrays, like: Any, kind: str = "cme") -> Any:
    """Returns released weights as parameters of a model of this project.

    Args:
        arrays: the arrays by their names in the state dict.
        like: the model's parameters or their shapes (`jax.eval_shape`).
        kind: kind of its fusion.

    Raises:
        ValueError: if arrays are missing, extra or of another shape; lists them all.
    """
    shapes = parameters.shapes(like)
    table = _table(shapes, kind)
    head = parameters.shapes(_head(shapes["vision/norm/scale"][0]))
    strict.check(
        {name: tuple(array.shape) for name, array in arrays.items()},
        layout.expected(table, shapes) | head,
        "The released state dict",
        "Give a complete state dict of the released program, or set the model's sizes "
        "to those of the weights.",
    )
    flat = layout.to_ours(table, arrays)
    if flat[parameters.WORDS][0].any():
        raise ValueError(
            "Row 0 of encoder_l.embedding.weight belongs to padding and must be zero; "
            "give weights of the released program."
        )
    return parameters.unflatten(flat)


def load(
    weights: Arrays | str | os.PathLike,
    *,
    vision_heads: int = 12,
    language_heads: int = 12,
    fusion_heads: int = 12,
    image_size: tuple[int, int] | None = None,
) -> tuple[ml_collections.ConfigDict, Any]:
    """Returns a model's configuration and parameters from a released state dict.

    Args:
        weights: arrays of any size by their names in the state dict, or a file of them
            (`weight_files.read_arrays`).
        vision_heads: attention heads of the vision encoder; shapes do not show them.
        language_heads: attention heads of the language encoder.
        fusion_heads: attention heads of the fusion.
        image_size: (height, width) of the model's input, if not square.

    Returns:
        The `model` part of a configuration, for `build_model`, and the parameters.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is unreadable or not a released model; lists all arrays
            that are missing, extra or of another shape.
    """
    is_file = isinstance(weights, str | os.PathLike)
    arrays = weight_files.read_arrays(weights) if is_file else weights
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): x for name, x in arrays.items()}
    config = _read_config(arrays, image_size)
    config.vision.num_heads = vision_heads
    config.language.num_heads = language_heads
    config.fusion.num_heads = fusion_heads
    words = arrays["encoder_l.embedding.weight"].shape[0]
    model = build_model(config, words)
    try:
        like = parameters.abstract(model)
    except Exception as error:  # Inconsistent sizes fail anywhere in flax.
        raise ValueError(
            "This is not a state dict of the released program: the sizes of its arrays "
            f"are inconsistent ({error})."
        ) from error
    return config, from_released(arrays, like, config.fusion.kind)


def _read_config(
    arrays: Arrays, image_size: tuple[int, int] | None
) -> ml_collections.ConfigDict:
    """Returns the model configuration of a state dict, without attention heads."""
    kinds = [
        k
        for k, names in KINDS.items()
        if _count(arrays, names.stacks[VISUAL_LINGUISTIC])
    ]
    names = KINDS[kinds[0] if kinds else "cme"]
    patch, positions, words, vision_mlp, language_mlp, joint, fusion_mlp = _of_rank(
        arrays,
        {
            "encoder_v.patch_embed.proj.weight": 4,
            "encoder_v.pos_embed": 3,
            "encoder_l.embedding.weight": 2,
            "encoder_v.blocks.0.mlp.fc1.weight": 2,
            "encoder_l.blocks.0.mlp.fc1.weight": 2,
            "fusion_module.proj_v.weight": 2,
            f"{names.stacks[VISUAL_LINGUISTIC]}.0.mlp.fc1.weight": 2,
        },
    )
    patch_size, num_patches = patch[-1], positions[1] - 1
    side = math.isqrt(num_patches)
    if image_size is None and side**2 != num_patches:
        raise ValueError(
            f"encoder_v.pos_embed has {num_patches} patches, which is not a square "
            "number; set image_size, or --source_grid on the command line."
        )
    in_fusion = sum(_count(arrays, stack) for stack in names.stacks.values())
    # The released option for shared weights applies the single block of each encoder
    # twice.
    shared = in_fusion == len(names.stacks)
    config = ml_collections.ConfigDict(_SAME_FOR_ALL)
    config.image_size = image_size or (side * patch_size, side * patch_size)
    config.patch_size = patch_size
    config.decoder = any(name.startswith(names.stages) for name in arrays)
    config.vision.width = patch[0]
    config.vision.num_layers = _count(arrays, "encoder_v.blocks")
    config.vision.mlp_dim = vision_mlp[0]
    config.language.width = words[1]
    config.language.num_layers = _count(arrays, "encoder_l.blocks")
    config.language.mlp_dim = language_mlp[0]
    config.fusion.kind = kinds[0] if kinds else "cme"
    config.fusion.width = joint[0]
    config.fusion.num_layers = 4 if shared else in_fusion
    config.fusion.mlp_dim = fusion_mlp[0]
    config.fusion.share_weights = shared
    return config


def _count(arrays: Arrays, stack: str) -> int:
    """Counts the blocks of a stack."""
    start = f"{stack}."
    return len({n[len(start) :].split(".")[0] for n in arrays if n.startswith(start)})


def _of_rank(arrays: Arrays, ranks: dict[str, int]) -> list[strict.Shape]:
    """Returns the shapes from which the sizes are read."""
    wrong = [
        f"  {name}: {'missing' if name not in arrays else arrays[name].shape}"
        for name, rank in ranks.items()
        if name not in arrays
        or len(arrays[name].shape) != rank
        or 0 in arrays[name].shape
    ]
    if wrong:
        raise ValueError(
            "This is not a state dict of the released program. The model's sizes are "
            "read from these arrays, among others:\n" + "\n".join(wrong)
        )
    return [tuple(arrays[name].shape) for name in ranks]
