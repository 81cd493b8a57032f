"""Arrays by name out of `.npz`, `.safetensors` and PyTorch files."""

import pathlib

import numpy as np
import safetensors.numpy

from restr_jax.pretrained import torch_file

# Weights hardly get smaller when packed; zeros get a thousand times as small. So many
# times a file's size, and bytes on top, its arrays may take.
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
        if not isinstance(array, np.ndarray):  # NumPy hands out foreign files as bytes.
            raise ValueError(f"{name!r} in it is no array")
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
    except Exception as error:  # NumPy and safetensors raise many kinds.
        if path.suffix not in (".npz", ".safetensors"):
            raise
        raise ValueError(
            f"{path} is damaged, or no {path.suffix} file ({error}); get it again."
        ) from error
