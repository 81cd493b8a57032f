"""ViTs in three layouts with the same weights, and files in PyTorch's format."""

import functools
import struct
import zipfile

import jax
import numpy as np
import pytest

from restr_jax.pretrained import convert, weight_files

VIT_FILES = {
    "google": "google_vit_tiny.npz",
    "timm": "timm_vit_tiny.safetensors",
    "huggingface": "hf_vit_tiny.safetensors",
}


@pytest.fixture(scope="session")
def vit_file(testdata):
    """Returns a function that gives the path of a small ViT by its layout."""
    return lambda layout: testdata / "golden" / VIT_FILES[layout]


@pytest.fixture(scope="session")
def read_vit(vit_file):
    """Returns a function that reads a small ViT by its layout."""
    read = functools.cache(lambda layout: weight_files.read_arrays(vit_file(layout)))
    return lambda layout: dict(read(layout))


@pytest.fixture(scope="session")
def tiny_vit(read_vit):
    """Returns the small ViT with this project's names."""
    return convert.convert(read_vit("google"), "google")


class TorchFile:
    """Builds files of `torch.save` byte by byte (pickle protocol 2)."""

    TYPES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}

    def __init__(self):
        self.files = {}
        self.byte_order = "little"

    @staticmethod
    def text(value):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    @staticmethod
    def integer(value):
        return b"J" + struct.pack("<i", value)

    @staticmethod
    def name(module, name):
        return f"c{module}\n{name}\n".encode()

    @staticmethod
    def tuple(*items):
        return b"(" + b"".join(items) + b"t"

    def integers(self, values):
        return self.tuple(*map(self.integer, values))

    def tensor(self, array, *, offset=0, size=None, stride=None, count=None, kind=None):
        """Stores an array's memory unchanged and describes the view of it."""
        flat = array.ravel(order="K")
        key = str(len(self.files))
        self.files[f"data/{key}"] = flat.tobytes()
        kind = kind or self.TYPES[array.dtype.str]
        storage = self.tuple(
            self.text("storage"),
            self.name("torch", kind),
            self.text(key),
            self.text("cpu"),
            self.integer(flat.size if count is None else count),
        )
        stride = stride or [step // array.itemsize for step in array.strides]
        return (
            self.name("torch._utils", "_rebuild_tensor_v2")
            + self.tuple(
                storage + b"Q",
                self.integer(offset),
                self.integers(size or array.shape),
                self.integers(stride),
                b"\x89",
                self.ordered_dict({}),
            )
            + b"R"
        )

    def ordered_dict(self, items):
        content = b"".join(self.text(key) + value for key, value in items.items())
        return self.name("collections", "OrderedDict") + b")R(" + content + b"u"

    def state_dict(self, arrays):
        """Returns a module's state dict, with its modules' versions as an attribute."""
        metadata = b"}" + self.text("_metadata") + self.ordered_dict({}) + b"sb"
        items = {name: self.tensor(array) for name, array in arrays.items()}
        return self.ordered_dict(items) + metadata

    def write(self, path, pickle, **how):
        with zipfile.ZipFile(path, "w", **how) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + pickle + b".")
            archive.writestr("archive/byteorder", self.byte_order)
            for name, data in self.files.items():
                archive.writestr(f"archive/{name}", data)
            archive.writestr("archive/version", "3\n")
        return path


@pytest.fixture
def torch_file_writer():
    return TorchFile()


@pytest.fixture
def write_pth(tmp_path):
    """Returns a function that writes a state dict as PyTorch does."""

    def write(arrays, name="model.pth"):
        file = TorchFile()
        return file.write(tmp_path / name, file.state_dict(arrays))

    return write


@pytest.fixture(scope="session")
def random_params():
    """Returns a function that makes parameters; compiling a model's own takes long."""

    def make(shapes):
        rng = np.random.default_rng(0)
        params = jax.tree.map(
            lambda x: rng.normal(size=x.shape).astype(np.float32), shapes
        )
        params["language"]["words"]["embedding"][0] = 0.0
        return params

    return make


@pytest.fixture
def random_arrays():
    """Returns a function that makes float32 arrays of given shapes."""

    def make(**shapes):
        rng = np.random.default_rng(0)
        return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}

    return make
