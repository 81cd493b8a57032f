"""Targets that read weights and model configurations."""

import functools
import io
import json
import sys
import zipfile
from unittest import mock

import ml_collections
import numpy as np
import safetensors.numpy
from absl import flags
from flax.traverse_util import flatten_dict
from fuzz.contract import (
    FOLDER,
    ROOT,
    documented,
    seed_files,
    target,
    text_of,
    write,
)
from ml_collections import config_flags
from pretrained.conftest import VIT_FILES, TorchFile

from configs import common
from restr_jax import command_line, shipped
from restr_jax.models import build_model, parameters
from restr_jax.pretrained import convert, load, weight_files
from restr_jax.workdir import config_checks, model_files

_ARRAYS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([1.5, -2.0], np.float16),
    "empty": np.zeros((0, 4)),
}


def _npz(save=np.savez, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _member(content: bytes, name: str = "a.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def _read(path) -> None:
    with documented(path.name):
        arrays = weight_files.read_arrays(path)
        assert all(isinstance(name, str) for name in arrays)
        assert all(type(array) is np.ndarray for array in arrays.values())
        total = sum(x.nbytes for x in arrays.values())
        # Deflated zeros shrink a thousandfold; real weights do not.
        assert total < 100 * path.stat().st_size + 2**27
        with documented():
            convert.convert(arrays, convert.recognise(arrays))


@target(
    _npz(**_ARRAYS),
    _npz(np.savez_compressed, **_ARRAYS),
    _npy(_ARRAYS["b"]),
    _npz(x=np.array("text"), y=np.array([None])),
)
def npz(content):
    _read(write("weights.npz", content))


@target(
    *(_npy(x) for x in _ARRAYS.values()),
    _npy(np.zeros(2, [("a", "<f4"), ("b", "O")])),
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }",
    b"no array",
)
def npz_member(content):
    """Reads one array's file, which an archive's checksums would protect."""
    _read(write("member.npz", _member(content)))


_SAFETENSORS = safetensors.numpy.save(_ARRAYS, {"format": "pt"})


@target(_SAFETENSORS, _SAFETENSORS[:-9], b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
def safetensors_file(content):
    _read(write("weights.safetensors", content))


_BF16 = b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
_FP8 = b'{"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'


@target(_BF16, _FP8, b'{"x":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]}}')
def safetensors_header(content):
    """Reads a header followed by four bytes of values."""
    start = len(content).to_bytes(8, "little")
    _read(write("header.safetensors", start + content + bytes(4)))


def _torch(**arrays) -> tuple[TorchFile, bytes]:
    file = TorchFile()
    return file, file.state_dict(arrays)


def _pth() -> bytes:
    file, pickled = _torch(x=np.ones((2, 3), np.float32), y=np.array(7))
    return file.write(FOLDER / "seed.pth", pickled).read_bytes()


@target(_pth(), _pth()[:-30], _member(b"\x80\x02}.", "a/data.pkl"))
def pth(content):
    _read(write("weights.pth", content))


_FILE, _PICKLED = _torch(x=np.ones((2, 3), np.float32))


@target(
    _PICKLED,
    _torch(x=np.zeros((0, 5), np.float32), y=np.array(7))[1],
    b"cos\nsystem\n(X\x08\x00\x00\x00touch it-ranttR",
)
def pth_pickle(content):
    """Reads a pickle that lists arrays, which an archive's checksum would protect."""
    _read(_FILE.write(FOLDER / "pickle.pth", content))


_METADATA = {"grid": [2, 2], "resize": "bicubic", "num_heads": {"vision": 4}}


@functools.cache
def _shipped():
    """Returns the shipped model's weights, and the shapes of its arrays."""
    trained = model_files.read("shapes")
    return trained, parameters.abstract(trained.model, 10)


@target(*(json.dumps(m).encode() for m in (_METADATA, {}, [], {"grid": [8, 8]})))
def own_metadata(content):
    """Reads the metadata in one of the project's weight files."""
    trained, like = _shipped()
    table = np.zeros((1, 4, 128), np.float32)
    text = np.array(content.decode("utf-8", errors="replace"))
    path = write("ours.npz", _npz(metadata=text, **{"vision/positions": table}))
    with documented("ours.npz"):
        weights = load.read(path)
        with documented():
            load.fit(weights, like, trained.model, trained.vocabulary.words)


def _change(arrays: dict, operations: bytes) -> dict:
    """Damages arrays: each pair of bytes selects an array and a change."""
    for which, how in zip(operations[::2], operations[1::2], strict=False):
        name = sorted(arrays)[which % len(arrays)]
        x = arrays.pop(name)
        changed = {
            0: lambda x: x.T,
            1: lambda x: x.ravel(),
            2: lambda x: x[..., None],
            3: lambda x: x[:0] if x.ndim else x,
            4: lambda x: x.astype(np.int8),
            5: lambda x: x * np.float32(np.nan),
            6: lambda x: x.reshape(-1)[:1].reshape(()),
            7: lambda x: x[..., 1:] if x.ndim else x,
        }
        if how % 16 in changed:
            arrays[name] = changed[how % 16](x)
        elif how % 16 < 12:
            arrays[name.replace("0", str(how))] = x
        if not arrays:
            return {}
    return arrays


@functools.cache
def _vit(name: str) -> dict:
    path = write(f"vit-{name}", *seed_files(f"golden/{name}"))
    return weight_files.read_arrays(path.rename(FOLDER / name))


@target(b"", b"\x00\x00", b"\x01\x09\x02\x05", b"\x07\x0f\x03\x03\x04\x02")
def vit_layouts(content):
    for layout, name in VIT_FILES.items():
        with documented():
            made = convert.convert(_change(dict(_vit(name)), content), layout)
            assert all(np.isfinite(x).all() for x in made.arrays.values())


_CONFIG = (shipped.folder("shapes") / "config.json").read_bytes()


@target(_CONFIG, b"[]", b"{}", b'{"data": 3}', _CONFIG.replace(b"64", b"-8"))
def folder_config(content):
    """Reads the config of a weight folder whose arrays keep their original shapes."""
    trained, like = _shipped()
    write("config.json", content)
    write("vocabulary.txt", trained.vocabulary.to_text().encode())
    with mock.patch.object(parameters, "abstract", lambda model, words: like):
        with documented("config.json", "vocabulary.txt"):
            read = model_files._assemble(FOLDER, trained.params, "folder")
            assert len(read.vocabulary) == len(trained.vocabulary)


@target(
    safetensors.numpy.save(
        {"a/b": np.ones(2, np.float16)}, {"format": "restr_jax weights 1"}
    ),
    safetensors.numpy.save({"a": np.ones(2)}, {"format": "restr_jax weights 0"}),
)
def folder_weights(content):
    with documented("weights.safetensors"):
        params = model_files._read_weights(write("weights.safetensors", content))
        assert all(x.dtype == np.float32 for x in flatten_dict(params).values())


@functools.cache
def _defaults() -> ml_collections.ConfigDict:
    return common.get_config("tiny")


@target(_defaults().to_json().encode(), b"[]", b"{", b'{"model": {"remat": "x"}}')
def workdir_config(content):
    write("config.json", content)
    with documented("config.json", str(FOLDER)):
        config_checks.claim_workdir(str(FOLDER), _defaults())


def _parsed(content: bytes) -> ml_collections.ConfigDict:
    """Parses overrides, one per line, as given after --config. on the command line."""
    file = str(ROOT / "configs" / "shapes.py")
    given = [f"--config.{line}" for line in text_of(content).split("\n")]
    known, argv = flags.FlagValues(), ["main.py", f"--config={file}", *given]
    config = config_flags.DEFINE_config_file("config", flag_values=known)
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(command_line.flags, "FLAGS", known),
    ):
        command_line._parse_flags(argv)
    return config.value


_OVERRIDES = (
    b"optimizer.learning_rate=2e-5",
    b"model.image_size=(64, 64)",
    b"model.image_size=((((",
    b"data.flip=true",
    b"no.such=1",
    b"eval.thresholds=(0.5,)\nmodel.patch_size=0",
    b"checkpoint_every_steps=0",
)


@target(*_OVERRIDES)
def overrides(content):
    with documented(also=[flags.Error, SystemExit]):
        _parsed(content)


@target(*_OVERRIDES)
def checked_overrides(content):
    with documented(also=[flags.Error, SystemExit]):
        config = _parsed(content)
        config_checks.check_config(config)
        build_model(config.model, 9)
