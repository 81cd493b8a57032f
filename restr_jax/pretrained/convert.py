"""Converts third-party weights for this project, and a workdir for PyTorch users."""

import json
import pathlib

import flax.traverse_util
import ml_collections
import numpy as np
import safetensors.numpy

from restr_jax.files import output_file, refuse_to_replace, whole
from restr_jax.models import parameters
from restr_jax.models.positions import Grid
from restr_jax.pretrained import (
    google,
    huggingface,
    released,
    released_layout,
    timm,
    vit,
)
from restr_jax.pretrained.layout import Arrays
from restr_jax.pretrained.vit import Converted, Line
from restr_jax.workdir import model_files

_VITS = {x.LAYOUT.name: x.LAYOUT for x in (google, timm, huggingface)}
_RELEASED = "released"
LAYOUTS = (*_VITS, _RELEASED)
_UNUSED_HEAD = "encoder_v.head."

# Keys of config.model that do not affect a trained model.
_ONLY_IN_TRAINING = (
    "init_std",
    "input_std",
    "conv_init",
    "drop_path_rate",
    "positions_init",
)


def recognise(arrays: Arrays) -> str:
    """Returns the layout of arrays, detected by their names.

    Raises:
        ValueError: if the layout is unknown.
    """
    begins = {name: layout.begins for name, layout in _VITS.items()}
    begins[_RELEASED] = ("encoder_v.", "module.encoder_v.")
    for name, starts in begins.items():
        if any(array.startswith(starts) for array in arrays):
            return name
    raise ValueError(
        f"The names of these arrays ({', '.join(list(arrays)[:5])}, ...) match no "
        f"known layout; give weights in one of {', '.join(LAYOUTS)}."
    )


def convert(arrays: Arrays, layout: str, grid: Grid | None = None) -> Converted:
    """Converts third-party weights.

    Args:
        arrays: the arrays by their third-party names.
        layout: one of `LAYOUTS`.
        grid: grid of the position table, if not square.

    Raises:
        ValueError: if arrays are missing, extra or of another shape; lists them all.
    """
    if layout == _RELEASED:
        return _convert_released(arrays, grid)
    return vit.convert(_VITS[layout], arrays, grid)


def _convert_released(arrays: Arrays, grid: Grid | None) -> Converted:
    arrays = {name.removeprefix("module."): x for name, x in arrays.items()}
    patches = "encoder_v.patch_embed.proj.weight"
    side = vit.dimension(arrays, patches, 4, 3, usual=16)
    # The shapes do not contain the number of heads, and the values do not depend on it.
    # One head divides any width.
    config, params = released.load(
        arrays,
        vision_heads=1,
        language_heads=1,
        fusion_heads=1,
        image_size=grid and (grid[0] * side, grid[1] * side),
    )
    ours = parameters.flatten(params)
    head = [name for name in arrays if name.startswith(_UNUSED_HEAD)]
    lines = vit.report(
        released_layout.rows(ours, config.fusion.kind),
        dict.fromkeys(head, "unused image classification head"),
        arrays,
        ours,
    )
    side, (height, width) = config.patch_size, config.image_size
    return Converted(ours, lines, (height // side, width // side), {})


def table(rows: list[Line]) -> str:
    """Formats the conversion as a table, one line per third-party array."""
    lines = [("source", "shape", "parameter", "shape")]
    for row in rows:
        shape = vit.show(row.shape)
        if row.ours:
            lines.append((row.theirs, shape, row.ours, row.remark))
        else:
            lines.append((row.theirs, shape, f"dropped: {row.remark}", ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def export(folder: str | pathlib.Path, path: str | pathlib.Path) -> int:
    """Writes a trained model in the released layout, for PyTorch.

    Args:
        folder: a trained model, see `model_files.read`.
        path: the ``.safetensors`` file to write.

    Returns:
        The number of values written.

    Raises:
        FileExistsError: if there is a file at the path.
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the released program has no such model, or the file has another
            suffix.
    """
    path = output_file(path, ".safetensors")
    refuse_to_replace(path)
    trained = model_files.read(folder, "latest")
    arrays = released.to_released(trained.params, trained.config.model.fusion.kind)
    _check_same_model(arrays, trained.config.model)
    with whole(path) as partial:
        safetensors.numpy.save_file(arrays, partial, {"format": "pt"})
    return sum(x.size for x in arrays.values())


def _check_same_model(
    arrays: dict[str, np.ndarray], config: ml_collections.ConfigDict
) -> None:
    """Checks that the released program computes the same model from these weights."""
    there, _ = released.load(
        arrays,
        vision_heads=config.vision.num_heads,
        language_heads=config.language.num_heads,
        fusion_heads=config.fusion.num_heads,
        image_size=tuple(config.image_size),
    )
    ours, theirs = _flat(config), _flat(there)
    different = [
        f"  config.model.{key} is {ours.get(key)}, expected {value}"
        for key, value in theirs.items()
        if ours.get(key) != value and not key.endswith(_ONLY_IN_TRAINING)
    ]
    if different:
        raise ValueError(
            "The released program has no such model; it would compute a different "
            "result from these weights:\n" + "\n".join(different)
        )


def _flat(config: ml_collections.ConfigDict) -> dict:
    return flax.traverse_util.flatten_dict(json.loads(config.to_json()), sep=".")
