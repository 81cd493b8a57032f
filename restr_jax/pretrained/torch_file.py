"""Reads tensors from PyTorch's `.pth`, `.bin` and `.pt` files without PyTorch.

Such a file is a zip archive of a pickle and of the tensors' raw bytes. Unpickling runs
any function that the file names; this reader calls none. It allows the few operations
with which `torch.save` builds a state dict, and rejects all others.
"""

import math
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tfds_builders.restricted_pickle import RestrictedUnpickler

_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46"  # first bytes of files of PyTorch < 1.6
_REMEDY = "In PyTorch, save only the model's state_dict(), or use a .safetensors file."
# A tensor takes some 200 bytes; one byte of a pickle may expand to 80 in memory.
_MAX_PICKLE_BYTES = 8 * 2**20
_MAX_RANK = 32

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_OPERATIONS = (
    "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS "
    "EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL "
    "BINPERSID REDUCE BUILD"
).split()


class _Storage(NamedTuple):
    """The raw values of one or more tensors."""

    key: str
    dtype: np.dtype
    values: bytes

    @property
    def size(self) -> int:
        return len(self.values) // self.dtype.itemsize


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the state dict of a file.

    Args:
        path: a zip archive from `torch.save` (PyTorch 1.6 or newer) that contains a
            state dict, or a dict in which one value is a state dict.

    Returns:
        Read-only arrays by name; bfloat16 has the type of ml_dtypes.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it contains anything else or is damaged.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
    if start == _LEGACY:
        raise ValueError(
            f"{path} is in the format of PyTorch before 1.6, which cannot be read "
            "safely. Load and save it again with a newer PyTorch, or use a "
            ".safetensors file."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _state_dict(_Archive(archive).load())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # A damaged archive can raise many types.
        raise ValueError(
            f"{path} is not a PyTorch file, or is damaged ({error}); download it again."
        ) from error


def _state_dict(root: Any) -> dict[str, np.ndarray]:
    """Returns the saved object if it is a state dict, or the only one inside it."""
    if _is_state_dict(root):
        return root
    inside = root if isinstance(root, dict) else {}
    found = {k: value for k, value in inside.items() if _is_state_dict(value)}
    if len(found) != 1:
        raise ValueError(
            f"It holds {len(found)} state dicts ({_some(found)}) among "
            f"{_some(inside)}, expected one. {_REMEDY}"
        )
    return next(iter(found.values()))


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(x, np.ndarray) for x in value.values())
    )


def _some(names: Any) -> str:
    shown = [repr(name) for name in list(names)[:10]]
    return ", ".join(shown) + (", ..." if len(names) > 10 else "") or "nothing"


class _Archive:
    """The zip archive: one `NAME/data.pkl`, and a `NAME/data/KEY` per storage."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self._storages: dict[tuple[np.dtype, str], _Storage] = {}
        names = [n for n in archive.namelist() if n.split("/")[1:] == ["data.pkl"]]
        if len(names) != 1:
            raise ValueError(
                f"It is a zip archive, but has {len(names)} files data.pkl, expected "
                f"one, so PyTorch did not write it. {_REMEDY}"
            )
        self._folder = names[0].partition("/")[0]

    def load(self) -> Any:
        """Returns the saved object: dicts, lists, tuples, numbers, arrays."""
        pickle = self._read("data.pkl", None, _MAX_PICKLE_BYTES)
        # PyTorch writes this file since version 2.1.
        if f"{self._folder}/byteorder" in self._archive.namelist():
            order = self._read("byteorder", None, 16)
            if order != b"little":
                raise ValueError(f"Its values are in the byte order {order}. {_REMEDY}")
        try:
            return _StateDictUnpickler(pickle, self._storage).load()
        except (LookupError, TypeError, AttributeError, UnicodeError) as error:
            raise ValueError(
                "Its data.pkl is damaged; download the file again."
            ) from error

    def _read(self, name: str, size: int | None, limit: int | None = None) -> bytes:
        """Reads a file of the archive, of a given or a limited size in bytes."""
        try:
            info = self._archive.getinfo(f"{self._folder}/{name}")
        except KeyError as error:
            raise ValueError(f"It lacks its file {name}; download it again.") from error
        # PyTorch stores files uncompressed, so none can exceed the archive's size.
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"Its file {name} is compressed, which PyTorch never does. {_REMEDY}"
            )
        if size is not None and info.file_size != size:
            raise ValueError(
                f"Its file {name} has {info.file_size} bytes, not {size}; download the "
                "file again."
            )
        if limit is not None and info.file_size > limit:
            raise ValueError(
                f"Its file {name} has {info.file_size} bytes, expected at most "
                f"{limit}. {_REMEDY}"
            )
        return self._archive.read(info)

    def _storage(self, reference: Any) -> _Storage:
        """Reads a storage: ("storage", type, key, device, number of values)."""
        kind, dtype, key, _, size = reference
        if kind != "storage" or not isinstance(key, str) or type(size) is not int:
            raise TypeError(kind)
        if not isinstance(dtype, np.dtype):
            raise TypeError(type(dtype))
        known = dtype, key
        if known not in self._storages:
            values = self._read(f"data/{key}", size * dtype.itemsize)
            self._storages[known] = _Storage(key, dtype, values)
        return self._storages[known]


def _parameter(array: Any, *_) -> np.ndarray:
    """Stands in for a trained tensor, which wraps its values."""
    if not isinstance(array, np.ndarray):
        raise TypeError(type(array))
    return array


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_) -> np.ndarray:
    """Returns a tensor as a view of its storage."""
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise TypeError(type(storage))
    if len(size) > _MAX_RANK or not all(map(_is_count, (offset, *size, *stride))):
        raise ValueError(
            "Its data.pkl is damaged: a tensor's size or strides are invalid; download "
            "the file again."
        )
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # A tensor may repeat values of its storage, but weights never do. Without the
    # limit, a small file could claim any amount of memory.
    if count and (last >= storage.size or count > storage.size):
        raise ValueError(
            f"A tensor of size {size}, strides {stride} and offset {offset} is not "
            f"within storage {storage.key!r}, which has {storage.size} values; "
            "download the file again."
        )
    width = storage.dtype.itemsize
    return np.ndarray(
        size,
        storage.dtype,
        storage.values,
        offset * width if count else 0,
        [step * width for step in stride] if count else None,
    )


class _StateDictUnpickler(RestrictedUnpickler):
    """Unpickles a state dict: dicts, lists, tuples, numbers and arrays."""

    OPCODES = tuple(_OPERATIONS)
    NAMES = {
        ("collections", "OrderedDict"): lambda: {},
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        **{("torch", name): np.dtype(kind) for name, kind in _STORAGES.items()},
    }
    KEYS = (str, int)

    def __init__(self, content: bytes, storage: Callable[[Any], _Storage]):
        super().__init__(content)
        self.persistent_load = storage

    def refuse(self, what):
        raise ValueError(
            f"{what}, which weights do not need; no code was run. {_REMEDY}"
        )

    def load_build(self):
        self.stack.pop()  # A state dict's _metadata: versions of modules.
