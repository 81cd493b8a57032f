"""Trained models on disk: a workdir, one of its checkpoints, or a folder of weights.

`restr export --format=weights` writes a folder of weights, and the shipped models are
such folders: config.json and vocabulary.txt as in a workdir, weights.safetensors and
card.json. A model of the Hugging Face Hub is one whose weights are model.safetensors.
"""

import json
import logging
import os
import pathlib
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from restr_jax import shipped
from restr_jax.data.text import Vocabulary
from restr_jax.files import refuse_to_replace, whole, write_whole
from restr_jax.models import ReSTR, build_model, parameters, strict
from restr_jax.version import __version__
from restr_jax.workdir import card, hub
from restr_jax.workdir.card import Card
from tfds_builders.storage.paths import typed

logger = logging.getLogger(__name__)

WEIGHTS, _FORMAT = "weights.safetensors", "restr_jax weights 1"
_MOST_LAYERS = 1_000  # also of words; neither is the side of an array


class Trained(NamedTuple):
    """A trained model.

    Attributes:
        config: the configuration that it was trained with.
        vocabulary: its words.
        model: the network.
        params: its parameters, float32.
        origin: the source of the parameters, for messages.
        card: its domain and training data.
    """

    config: Any
    vocabulary: Vocabulary
    model: ReSTR
    params: Any
    origin: str
    card: Card = card.UNKNOWN

    def __repr__(self) -> str:
        words, count = len(self.vocabulary), parameters.count(self.params)
        return f"Trained({self.origin}: {count:,} parameters, {words:,} entries)"


def read(path: str | os.PathLike[str], checkpoint_name: str = "best") -> Trained:
    """Reads a trained model.

    Args:
        path: a workdir, WORKDIR/checkpoints/STEP, a folder of weights, one of
            `shipped.NAMES` (for a folder of that name, write "./photos"), or
            "hf://OWNER/NAME", see `hub.download`.
        checkpoint_name: "best", "latest" or a step of a workdir; "best" is the latest
            if none was scored.

    Raises:
        FileNotFoundError: if there is no trained model.
        OSError: if a model cannot be downloaded.
        ValueError: if it is damaged, or of another version.
    """
    folder = _folder(path)
    weights = _find_weights(folder)
    if weights:
        params, origin = _read_weights(weights), str(path)
    else:
        # Imported late: a folder of weights needs neither Orbax nor Optax.
        from restr_jax.workdir import checkpoint

        origin = str(_find_checkpoint(folder, checkpoint_name))
        params = checkpoint.read_params(origin)
    return _assemble(_home(folder), params, origin)


def is_model(path: str | os.PathLike[str]) -> bool:
    """Returns True for everything that `read` accepts, without reading it."""
    return _folder(path).is_dir()


def vocabulary_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the file of a trained model's words, see `read`.

    Raises:
        FileNotFoundError: if there is no trained model.
    """
    folder = _folder(path)
    words = _home(folder) / "vocabulary.txt"
    if not words.is_file():
        raise _no_model(folder)
    return words


def _find_weights(folder: pathlib.Path) -> pathlib.Path | None:
    paths = (folder / name for name in (WEIGHTS, hub.WEIGHTS))
    return next((path for path in paths if path.is_file()), None)


def _folder(path: str | os.PathLike[str]) -> pathlib.Path:
    name = str(path)
    if name in shipped.NAMES:
        return shipped.folder(name)
    if hub.is_name(name):
        return hub.download(name)
    return pathlib.Path(typed(path))


def _home(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder of config.json and vocabulary.txt."""
    return folder.parent.parent if _is_checkpoint(folder) else folder


def _is_checkpoint(folder: pathlib.Path) -> bool:
    return folder.parent.name == "checkpoints" and folder.is_dir()


def write(trained: Trained, folder: pathlib.Path, weights: str = WEIGHTS) -> None:
    """Writes a folder of float16 weights, a quarter of the size of a checkpoint.

    Args:
        trained: the model.
        folder: the output folder.
        weights: the name of the file of weights, `WEIGHTS` or `hub.WEIGHTS`.

    Raises:
        FileExistsError: if files of the folder, which is no export, have these names.
        ValueError: if a weight is too large for float16.
    """
    earlier = _find_weights(folder)
    if earlier is None or _format_of(earlier) != _FORMAT:
        names = WEIGHTS, hub.WEIGHTS, "vocabulary.txt", "config.json", card.FILE
        refuse_to_replace(*(folder / name for name in names))
    arrays = {}
    for name, array in parameters.flatten(trained.params).items():
        with np.errstate(over="ignore"):
            arrays[name] = np.asarray(array).astype(np.float16)
        strict.as_float32(name, arrays[name])  # Raises if one is infinite.
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": _FORMAT, "version": __version__}
    with whole(folder / weights) as partial:
        partial.write_bytes(safetensors.numpy.save(arrays, metadata))
    if earlier and earlier.name != weights:
        earlier.unlink()  # Of the other format.
    write_whole(folder / "vocabulary.txt", trained.vocabulary.to_text())
    write_whole(folder / "config.json", trained.config.to_json(indent=2) + "\n")
    write_whole(folder / card.FILE, trained.card.to_text())


def _find_checkpoint(folder: pathlib.Path, name: str) -> pathlib.Path:
    if _is_checkpoint(folder):
        return folder
    if not (folder / "checkpoints").is_dir():
        raise _no_model(folder)
    from restr_jax.workdir.checkpoint import Checkpoints

    checkpoints = Checkpoints(str(folder), 1, read_only=True)
    try:
        if name == "best" and checkpoints.best_step() is None:
            logger.info("no checkpoint of %s was scored; using the latest", folder)
            name = "latest"
        step = checkpoints.select(name)[-1]
    finally:
        checkpoints.close()
    return folder / "checkpoints" / str(step)


def _no_model(folder: pathlib.Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"There is no trained model in {folder}; give the workdir of a trained model, "
        f"one of its checkpoints, a folder of weights, one of {shipped.NAMES}, or "
        "hf://OWNER/NAME."
    )


def _format_of(path: pathlib.Path) -> str | None:
    with safetensors.safe_open(path, "numpy") as file:
        return (file.metadata() or {}).get("format")


def _read_weights(path: pathlib.Path) -> Any:
    try:
        found = _format_of(path)
        arrays = safetensors.numpy.load_file(path)
    except Exception as error:  # Other types too, e.g. for dtypes unknown to NumPy.
        raise ValueError(f"{path} is damaged ({error}); replace it.") from error
    if found != _FORMAT:
        raise ValueError(
            f"{path} has the format {found!r}, not {_FORMAT!r}; write it with `restr "
            "export --format=weights` of this version."
        )
    try:
        arrays = {name: strict.as_float32(name, x) for name, x in arrays.items()}
        return parameters.unflatten(arrays)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold weights: {error}") from error


def _assemble(home: pathlib.Path, params: Any, origin: str) -> Trained:
    path = home / "config.json"
    text = path.read_bytes()
    arrays = parameters.flatten(params)
    try:
        config = ml_collections.ConfigDict(json.loads(text))
        # The vocabulary is checked separately, and its size does not bound the others.
        shapes = (x.shape[name == parameters.WORDS :] for name, x in arrays.items())
        _check_sizes(config, max(side for shape in shapes for side in shape))
        how = config.data.tokenizer, config.data.padding
        if not all(isinstance(name, str) for name in how):
            raise ValueError(f"{how} are not the names of a tokenizer and a side")
        default = card.of_config(config)
    except Exception as error:  # The file may hold anything.
        raise _of_another_version(path, error) from error
    vocabulary = Vocabulary.load(home / "vocabulary.txt", *how)
    try:
        model = build_model(config.model, len(vocabulary))
        expected = parameters.abstract(model, config.data.max_words)
    except Exception as error:  # Incompatible sizes fail anywhere in flax.
        raise _of_another_version(path, error) from error
    strict.check(
        parameters.shapes(params),
        parameters.shapes(expected),
        origin,
        "It belongs to another version of restr_jax, or is damaged.",
    )
    about = card.read(home, default)
    return Trained(config, vocabulary, model, params, origin, about)


def _of_another_version(path: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} does not fit this version of restr_jax ({__version__}): "
        f"{error}. Use the version that trained the model, or train it again."
    )


def _check_sizes(config, largest: int) -> None:
    """Checks sizes before a model is built, since huge ones would take too long.

    Args:
        config: a configuration.
        largest: the longest side of any of the model's arrays, excluding words.

    Raises:
        ValueError: if a size is not an integer, or too large for these arrays.
    """
    model, most = config.model, max(largest, _MOST_LAYERS)
    rows, columns = (side // model.patch_size for side in model.image_size)
    sizes = {"patches": rows * columns, "data.max_words": config.data.max_words} | {
        f"{part}.{key}": model[part][key]
        for part in ("vision", "language", "fusion")
        for key in ("width", "num_layers", "num_heads", "mlp_dim")
    }
    for name, size in sizes.items():
        if type(size) is not int or not 0 <= size <= most:
            raise ValueError(
                f"{name} is {size!r}, but no side of an array exceeds {largest}"
            )
