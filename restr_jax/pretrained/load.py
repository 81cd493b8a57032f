"""Loads weights from a converted file, a workdir or an export into a model.

A converted file, which `python -m restr_jax.pretrained` writes, is an `.npz`. It
contains arrays by parameter path ("vision/norm/scale") and `metadata`, a JSON text.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from restr_jax.models import ReSTR, strict
from restr_jax.pretrained import positions, weight_files
from restr_jax.pretrained.positions import Grid
from restr_jax.pretrained.vit import CLASS_TOKEN, POSITIONS
from restr_jax.workdir import checkpoint, model_files
from restr_jax.workdir.config_checks import read_config

_METADATA = "metadata"
_PARTS_WITH_HEADS = ("vision", "language", "fusion")


class Weights(NamedTuple):
    """Parameters of some or all parts of a model.

    Attributes:
        origin: source of the parameters, for messages.
        arrays: arrays by path.
        grid: grid of patches of the position table.
        resize: interpolation for resizing it, one of `positions.METHODS`.
        num_heads: attention heads by part, as far as known.
        words: the vocabulary's entries, if known.
    """

    origin: str
    arrays: dict[str, np.ndarray]
    grid: Grid
    resize: str
    num_heads: dict[str, int]
    words: tuple[str, ...] | None = None

    def parts(self) -> set[str]:
        """Returns the parts among vision, language, fusion and decoder."""
        return {path.partition("/")[0] for path in self.arrays}

    def on_grid(self, grid: Grid) -> "Weights":
        """Resizes the position table."""
        table = self.arrays.get(POSITIONS)
        if table is None or grid == self.grid:
            return self
        resized = positions.resize(table, self.grid, grid, self.resize)
        return self._replace(arrays=self.arrays | {POSITIONS: resized}, grid=grid)


def write(path: str | pathlib.Path, weights: Weights, notes: dict[str, Any]) -> None:
    """Writes a file of weights atomically.

    Args:
        path: the ``.npz`` file to write.
        weights: the weights; their vocabulary is not written.
        notes: information on their source, stored in the metadata.
    """
    metadata = notes | {
        "grid": weights.grid,
        "resize": weights.resize,
        "num_heads": weights.num_heads,
    }
    path = pathlib.Path(path)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        text = np.array(json.dumps(metadata))
        np.savez(file, **{_METADATA: text}, **weights.arrays)
    partial.replace(path)


def read(path: str | pathlib.Path) -> Weights:
    """Reads weights with this project's names.

    Args:
        path: a file from `write`; a workdir, whose last checkpoint is read; a
            checkpoint, ``WORKDIR/checkpoints/STEP``; or a folder from ``restr export
            --format=weights``.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if it contains anything else or is damaged.
    """
    path = pathlib.Path(path)
    if model_files.is_export(path):
        trained = model_files.read(path)
        return _of_trained(
            str(path), trained.params, trained.config.model, trained.vocabulary.words
        )
    if path.is_dir():
        return _read_checkpoint(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no weights in {path} (config.init_from): it is not a file, a "
            "workdir or a folder of exported weights."
        )
    arrays = weight_files.read_arrays(path)
    if _METADATA not in arrays:
        raise ValueError(
            f"{path} (config.init_from) is not a converted file. Convert it first: "
            f"python -m restr_jax.pretrained --input={path} --output=weights.npz"
        )
    try:
        grid, resize, num_heads = _read_metadata(str(arrays.pop(_METADATA)), arrays)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(
            f"{path} (config.init_from) is damaged or from another version: its "
            f"metadata do not match its arrays ({error!r}). Convert it again."
        ) from error
    return Weights(str(path), arrays, grid, resize, num_heads)


def _read_metadata(
    text: str, arrays: Mapping[str, np.ndarray]
) -> tuple[Grid, str, dict[str, int]]:
    """Returns the position table's grid, its interpolation method, and the heads.

    Raises:
        LookupError, RecursionError, TypeError, ValueError: if the metadata are invalid.
    """
    metadata = json.loads(text)
    rows, columns = metadata["grid"]
    resize, heads = metadata["resize"], dict(metadata["num_heads"])
    positions.METHODS[resize]
    if not all(type(n) is int and n > 0 for n in (rows, columns, *heads.values())):
        raise ValueError("grid or num_heads")
    if not heads.keys() <= set(_PARTS_WITH_HEADS):
        raise ValueError(f"num_heads of {', '.join(heads)}")
    table = arrays.get(POSITIONS)
    if table is not None:
        patches = strict.as_float32(POSITIONS, table).shape[1] - rows * columns
        if table.ndim != 3 or len(table) != 1 or patches < 0:
            raise ValueError(f"{POSITIONS} has the shape {table.shape}")
    return (rows, columns), resize, heads


def _read_checkpoint(path: pathlib.Path) -> Weights:
    folder = find_checkpoint(path)
    workdir = folder.parent.parent
    model = read_config(workdir)["model"]
    words = (workdir / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    params = checkpoint.read_params(str(folder))
    return _of_trained(str(folder), params, model, tuple(words))


def _of_trained(
    origin: str, params: Any, model: Any, words: tuple[str, ...]
) -> Weights:
    return Weights(
        origin,
        flax.traverse_util.flatten_dict(params, sep="/"),
        tuple(side // model["patch_size"] for side in model["image_size"]),
        "bilinear",
        {part: model[part]["num_heads"] for part in _PARTS_WITH_HEADS},
        words,
    )


def find_checkpoint(folder: pathlib.Path) -> pathlib.Path:
    """Returns a workdir's last checkpoint, or the folder itself if it is a checkpoint.

    Raises:
        FileNotFoundError: if it is neither.
    """
    if folder.parent.name == "checkpoints" and folder.is_dir():
        return folder
    names = (path.name for path in (folder / "checkpoints").glob("*"))
    steps = [int(name) for name in names if name.isdigit()]
    if not steps:
        raise FileNotFoundError(
            f"{folder} holds no checkpoint; give the workdir of a training run, one of "
            "its checkpoints, or a file of weights."
        )
    return folder / "checkpoints" / str(max(steps))


def fit(
    weights: Weights, like: Any, model: ReSTR, words: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Adapts weights to a model: resizes the positions and drops an unused class token.

    Args:
        weights: weights of one or more complete parts.
        like: the model's parameters or their shapes.
        model: the model.
        words: the entries of its vocabulary.

    Returns:
        Every parameter of these parts, float32, by path.

    Raises:
        ValueError: if parameters are missing, extra or of another shape (lists them
            all), or if the heads or words, which shapes do not show, differ.
    """
    side = model.vision.patch_size
    height, width = model.vision.image_size
    expected = flax.traverse_util.flatten_dict(like, sep="/")
    weights = weights.on_grid((height // side, width // side))
    arrays = dict(weights.arrays)
    if CLASS_TOKEN in arrays and CLASS_TOKEN not in expected:
        del arrays[CLASS_TOKEN]
        arrays[POSITIONS] = arrays[POSITIONS][:, 1:]
    parts = weights.parts()
    if "language" in parts and weights.words not in (None, words):
        raise ValueError(
            f"The weights in {weights.origin} belong to another vocabulary; set "
            "config.data.vocabulary to the vocabulary.txt of their workdir."
        )
    strict.check(
        {path: x.shape for path, x in arrays.items()},
        {p: x.shape for p, x in expected.items() if p.partition("/")[0] in parts},
        weights.origin,
        "Give the model the sizes of these weights (config.model), or other weights.",
    )
    _check_heads(weights, model)
    return {path: strict.as_float32(path, x) for path, x in arrays.items()}


def _check_heads(weights: Weights, model: ReSTR) -> None:
    wrong = {
        part: (number, getattr(model, part).num_heads)
        for part, number in weights.num_heads.items()
        if number != getattr(model, part).num_heads
    }
    if wrong:
        raise ValueError(
            f"{weights.origin} was trained with other numbers of attention heads: "
            + ", ".join(
                f"config.model.{part}.num_heads={theirs}, not {ours}"
                for part, (theirs, ours) in wrong.items()
            )
            + "."
        )


def put(params: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns the parameters with some values replaced, given by path."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    flat |= {path: jnp.asarray(x) for path, x in arrays.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")
