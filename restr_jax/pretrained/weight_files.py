"""Reads arrays by name from `.npz`, `.safetensors` and PyTorch files."""

import pathlib

import numpy as np
import safetensors.numpy

from restr_jax.pretrained import torch_file

# Weights hardly compress, while zeros shrink a thousandfold. The arrays of a file may
# take this multiple of its size, plus this number of bytes.
_MOST_TIMES, _ANY_SIZE = 20, 2**26


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise ValueError("it holds one array without a name")
    with file:
        size = sum(info.file_size for info in file.zip.infolist())
        if size > _MOST_TIMES * path.stat().st_size + _ANY_SIZE:
            raise ValueError(f"it would unpack to {size:,} bytes")
        arrays = dict(file)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy returns other files as bytes.
            raise ValueError(f"{name!r} in it is not an array")
    return arrays


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
        path: an ``.npz`` or ``.safetensors`` file, or PyTorch's ``.pth``, ``.bin`` or
            ``.pt``.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged or of another type.
    """
    path = pathlib.Path(path)
    if path.suffix not in _READERS:
        raise ValueError(
            f"{path} is not a supported file of weights: its name ends in none of "
            f"{', '.join(_READERS)}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return _READERS[path.suffix](path)
    except Exception as error:  # NumPy and safetensors raise many types.
        if path.suffix not in (".npz", ".safetensors"):
            raise
        raise ValueError(
            f"{path} is damaged or not a valid {path.suffix} file ({error}); download "
            "it again."
        ) from error
