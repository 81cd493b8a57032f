"""Loads weights from a converted file, a workdir or an export into a model.

A converted file, which `python -m restr_jax.pretrained` writes, is an `.npz`. It
contains arrays by parameter path ("vision/norm/scale") and `metadata`, a JSON text.
"""

import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from restr_jax.files import output_file, refuse_to_replace, whole
from restr_jax.models import ReSTR, parameters, positions, strict
from restr_jax.models.positions import Grid
from restr_jax.pretrained import weight_files
from restr_jax.pretrained.vit import CLASS_TOKEN, POSITIONS
from restr_jax.workdir import model_files
from tfds_builders.storage.paths import typed

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
        resized = positions.resize_table(table, self.grid, grid, self.resize)
        return self._replace(arrays=self.arrays | {POSITIONS: resized}, grid=grid)


def write(path: str | pathlib.Path, weights: Weights, notes: dict[str, Any]) -> None:
    """Writes a file of weights atomically.

    Args:
        path: the ``.npz`` file to write.
        weights: the weights; their vocabulary is not written.
        notes: information on their source, stored in the metadata.

    Raises:
        FileExistsError: if there is another file at the path.
        ValueError: if the file has another suffix, which `read` would refuse.
    """
    path = output_file(path, ".npz")
    if path.exists() and not _is_converted(path):
        refuse_to_replace(path)
    metadata = notes | {
        "grid": weights.grid,
        "resize": weights.resize,
        "num_heads": weights.num_heads,
    }
    with whole(path) as partial, partial.open("wb") as file:
        text = np.array(json.dumps(metadata))
        np.savez(file, **{_METADATA: text}, **weights.arrays)


def _is_converted(path: pathlib.Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return f"{_METADATA}.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read(path: str | pathlib.Path) -> Weights:
    """Reads weights with this project's names.

    Args:
        path: a file from `write`; or a trained model, see `model_files.read`: a
            workdir, whose last checkpoint is read, a checkpoint, an export, or the name
            of a shipped model.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if it contains anything else or is damaged.
    """
    if model_files.is_model(path):
        trained = model_files.read(path, "latest")
        model = trained.config.model
        return Weights(
            trained.origin,
            parameters.flatten(trained.params),
            tuple(side // model.patch_size for side in model.image_size),
            "bilinear",
            {part: model[part].num_heads for part in _PARTS_WITH_HEADS},
            trained.vocabulary.words,
        )
    path = pathlib.Path(typed(path))
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
    expected = parameters.flatten(like)
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
