"""Parts that artifacts of every format share, and their loading."""

import hashlib
import json
import pathlib
import sys
import types
from collections.abc import Sequence
from typing import Any

from restr_jax.data import text
from restr_jax.files import refuse_to_replace, write_whole
from restr_jax.version import __version__
from restr_jax.workdir.model_files import Trained
from tfds_builders.inspection import words

_ABOUT, _LOADER, _TEXT = "restr.json", "restr_exported", "restr_text"
_OTHERS = "vocabulary.txt parity.json weights.npz encode.stablehlo segment.stablehlo"
_OTHERS += " encode.onnx segment.onnx"
_COPIES = {
    f"{_LOADER}.py": (pathlib.Path(__file__).with_name(f"{_LOADER}.py"),),
    f"{_TEXT}.py": (pathlib.Path(words.__file__), pathlib.Path(text.__file__)),
}
# Not in a copy, which has the content of both files.
_IMPORT = "from tfds_builders.inspection.words import split, split_as_written\n"


def begin(folder: pathlib.Path) -> None:
    """Creates the folder with the loader; it cannot be loaded until `finish`.

    Raises:
        FileExistsError: if files of the folder, which is no artifact, have these names.
    """
    if not any((folder / name).exists() for name in (_ABOUT, *_COPIES)):
        refuse_to_replace(*(folder / name for name in _OTHERS.split()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _ABOUT).unlink(missing_ok=True)
    for name, sources in _COPIES.items():  # They mark the folder as an artifact.
        code = "\n".join(source.read_text(encoding="utf-8") for source in sources)
        write_whole(folder / name, code.replace(_IMPORT, ""))


def finish(
    trained: Trained, folder: pathlib.Path, kind: str, files: Sequence[str]
) -> None:
    """Adds the vocabulary and the metadata (restr.json).

    Args:
        trained: the exported model.
        folder: folder of the artifact.
        kind: the format, "stablehlo" or "onnx".
        files: names of the files written so far.
    """
    write_whole(folder / "vocabulary.txt", trained.vocabulary.to_text())
    data = trained.config.data
    about = {
        "format": f"restr_jax {kind} 1",
        "version": __version__,
        "origin": trained.origin,
        "image_size": list(trained.config.model.image_size),
        "resize": data.resize,
        "max_words": data.max_words,
        "tokenizer": data.tokenizer,
        "padding": data.padding,
        "threshold": float(trained.config.eval.thresholds[0]),
        "files": {name: _digest(folder / name) for name in (*files, "vocabulary.txt")},
    }
    write_whole(folder / _ABOUT, json.dumps(about, indent=2) + "\n")


def load(folder: pathlib.Path) -> Any:
    """Loads an artifact as its users do, with the loader that it contains."""
    for name in (_TEXT, _LOADER):
        path = folder / f"{name}.py"
        module = types.ModuleType(name)
        sys.modules[name] = module
        # An import would leave a __pycache__ in the artifact.
        code = compile(path.read_text(encoding="utf-8"), path, "exec")
        exec(code, module.__dict__)
    return sys.modules[_LOADER].load(folder)


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
