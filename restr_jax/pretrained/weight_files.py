"""Arrays by name out of `.npz`, `.safetensors` and PyTorch files."""

import pathlib
import zipfile

import numpy as np
import safetensors
import safetensors.numpy

from restr_jax.pretrained import torch_file


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise ValueError("it holds one array without a name")
    with file:
        return dict(file)


_READERS = {
    ".npz": _read_npz,
    ".safetensors": safetensors.numpy.load_file,
    ".pth": torch_file.read,
    ".bin": torch_file.read,
    ".pt": torch_file.read,
}


def read_arrays(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads every array of a file of weights.

    Args:
        path: ``.npz``, ``.safetensors``, or of PyTorch ``.pth``, ``.bin``, ``.pt``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or of another kind.
    """
    path = pathlib.Path(path)
    if path.suffix not in _READERS:
        raise ValueError(
            f"{path} is no file of weights that can be read: its name ends in none of "
            f"{', '.join(_READERS)}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return _READERS[path.suffix](path)
    except (
        EOFError,
        OSError,
        ValueError,
        zipfile.BadZipFile,
        safetensors.SafetensorError,
    ) as error:
        if path.suffix not in (".npz", ".safetensors"):
            raise
        raise ValueError(
            f"{path} is damaged, or no {path.suffix} file ({error}); get it again."
        ) from error
