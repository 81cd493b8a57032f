import pickle
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from restr_jax.pretrained import torch_file


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_state_dict_is_read_as_it_was_saved(write_pth, random_arrays, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # Importing it fails.
    arrays = random_arrays(weight=(3, 4), bias=(3,), scalar=(), none=(0, 5))
    arrays["transposed"] = arrays["weight"].T  # a view with its strides
    arrays["half"] = arrays["weight"].astype(np.float16)
    arrays["count"] = np.array(7)
    found = torch_file.read(write_pth(arrays))
    assert_same(found, arrays)


def test_bfloat16_is_read(torch_file_writer, tmp_path):
    array = np.array([[1.5, -2.0], [0.25, 3.0]], ml_dtypes.bfloat16)
    tensor = torch_file_writer.tensor(array, kind="BFloat16Storage")
    saved = torch_file_writer.ordered_dict({"x": tensor})
    path = torch_file_writer.write(tmp_path / "a.bin", saved)
    assert_same(torch_file.read(path), {"x": array})


def test_views_of_one_storage_are_read(torch_file_writer, tmp_path):
    make, array = torch_file_writer, np.arange(12, dtype=np.float32)
    tensor = make.tensor(array, offset=2, size=[2, 3], stride=[1, 3])
    parameter = (
        make.name("torch._utils", "_rebuild_parameter")
        + make.tuple(tensor, b"\x88", make.ordered_dict({}))
        + b"R"
    )
    path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": parameter}))
    assert_same(
        torch_file.read(path), {"x": np.array([[2, 5, 8], [3, 6, 9]], np.float32)}
    )


def test_the_only_state_dict_of_a_training_checkpoint_is_used(
    torch_file_writer, tmp_path, random_arrays
):
    make, arrays = torch_file_writer, random_arrays(weight=(2, 2))
    rates = b"](G" + struct.pack(">d", 1e-3) + b"Ne"  # [0.001, None]
    optimizer = b"}" + make.text("rates") + rates + b"s"
    saved = {
        "epoch": make.integer(3),
        "model": make.state_dict(arrays),
        "optimizer": optimizer,
    }
    path = make.write(tmp_path / "a.pth", make.ordered_dict(saved))
    assert_same(torch_file.read(path), arrays)
    saved["ema"] = make.state_dict(arrays)
    path = make.write(tmp_path / "b.pth", make.ordered_dict(saved))
    with pytest.raises(ValueError, match="2 state dicts .'model', 'ema'."):
        torch_file.read(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch._utils", "_rebuild_tensor"),
        ("argparse", "Namespace"),
    ],
)
def test_a_file_that_would_run_code_is_refused(
    torch_file_writer, tmp_path, module, name
):
    make, proof = torch_file_writer, tmp_path / "it-ran"
    call = make.name(module, name) + make.tuple(make.text(f"touch {proof}")) + b"R"
    path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": call}))
    with pytest.raises(ValueError, match=rf"a.pth: It refers to {module}\.{name}"):
        torch_file.read(path)
    assert not proof.exists()


def test_code_that_pickle_would_run_is_refused(torch_file_writer, tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ("it ran",)

    # Protocols from 4 on use another opcode for the names of functions.
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", pickle.dumps(Harmful(), protocol))
        with pytest.raises(ValueError, match="It refers to|has an operation"):
            torch_file.read(path)


@pytest.mark.parametrize(
    "view",
    [
        {"size": [2, 4], "stride": [4, 1]},  # two values too many
        {"offset": 1, "size": [6], "stride": [1]},
        {"offset": 2**31 - 1},
        {"size": [2, 2], "stride": [5, 1]},
        {"size": [1000, 1000], "stride": [0, 0]},  # would take 4 MB
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(torch_file_writer, tmp_path, view):
    tensor = torch_file_writer.tensor(np.zeros(6, np.float32), **view)
    saved = torch_file_writer.ordered_dict({"x": tensor})
    path = torch_file_writer.write(tmp_path / "a.pth", saved)
    with pytest.raises(ValueError, match="not within storage '0', which has 6 values"):
        torch_file.read(path)


@pytest.mark.parametrize("view", [{"offset": -1}, {"stride": [-1]}, {"size": [-6]}])
def test_negative_sizes_are_refused(torch_file_writer, tmp_path, view):
    tensor = torch_file_writer.tensor(np.zeros(6, np.float32), **view)
    saved = torch_file_writer.ordered_dict({"x": tensor})
    path = torch_file_writer.write(tmp_path / "a.pth", saved)
    with pytest.raises(ValueError, match="damaged: a tensor's size or strides"):
        torch_file.read(path)


def test_a_storage_of_another_or_no_size_is_refused(torch_file_writer, tmp_path):
    make = torch_file_writer
    for count in (5, 7):
        tensor = make.tensor(np.zeros(6, np.float32), count=count)
        path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": tensor}))
        with pytest.raises(ValueError, match=f"24 bytes, not {4 * count}"):
            torch_file.read(path)
    tensor = make.tensor(np.zeros(6, np.float32))
    make.files.clear()
    path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": tensor}))
    with pytest.raises(ValueError, match="lacks its file data/"):
        torch_file.read(path)


def test_storages_of_other_types_or_byte_orders_are_refused(
    torch_file_writer, tmp_path
):
    make = torch_file_writer
    tensor = make.tensor(np.zeros(6, np.float32), kind="ComplexFloatStorage")
    path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": tensor}))
    with pytest.raises(ValueError, match="torch.ComplexFloatStorage"):
        torch_file.read(path)
    tensor = make.tensor(np.zeros(6, np.float32))
    make.byte_order = "big"
    path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": tensor}))
    with pytest.raises(ValueError, match="in the byte order b'big'"):
        torch_file.read(path)


def test_damaged_values_are_refused(write_pth):
    path = write_pth({"x": np.full(1000, 7.5, np.float32)})
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(7.5).tobytes()) + 400] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged .*CRC"):
        torch_file.read(path)


def test_a_damaged_pickle_ends_in_an_error_or_in_arrays(
    torch_file_writer, tmp_path, random_arrays
):
    make, rng = torch_file_writer, np.random.default_rng(0)
    whole = make.state_dict(random_arrays(a=(3, 4), b=(5,)))
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=2):
            content[place] = rng.integers(256)
        path = make.write(tmp_path / "a.pth", bytes(content))
        try:
            found = torch_file.read(path)
        except ValueError as error:
            assert "a.pth" in str(error)
        else:
            assert all(isinstance(x, np.ndarray) for x in found.values())


def test_nesting_without_end_is_refused(torch_file_writer, tmp_path):
    make = torch_file_writer
    deep = b")" + b"\x85" * 200_000  # ((((...))))
    path = make.write(tmp_path / "a.pth", make.ordered_dict({"x": deep}))
    with pytest.raises(ValueError, match="holds 0 state dicts"):
        torch_file.read(path)
    # As a key: hashing it would exhaust the C stack.
    path = make.write(tmp_path / "b.pth", b"}" + deep + b"Ns")
    with pytest.raises(ValueError, match="a key of another type"):
        torch_file.read(path)
    # A dict that contains itself.
    path = make.write(tmp_path / "c.pth", b"}q\x00" + make.text("x") + b"h\x00s")
    with pytest.raises(ValueError, match="holds 0 state dicts"):
        torch_file.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"R", b"u", b"h\x05", b"a", b"\x86", b"Q", b"X\xff\xff\xff\x7fa"]
)
def test_a_malformed_pickle_is_damaged(torch_file_writer, tmp_path, content):
    path = torch_file_writer.write(tmp_path / "a.pth", content)
    with pytest.raises(ValueError, match="a.pth"):
        torch_file.read(path)


def test_a_compressed_archive_is_refused(torch_file_writer, tmp_path):
    tensor = torch_file_writer.tensor(np.zeros(2**20, np.float32))
    saved = torch_file_writer.ordered_dict({"x": tensor})
    how = {"compression": zipfile.ZIP_DEFLATED}
    path = torch_file_writer.write(tmp_path / "a.pth", saved, **how)
    with pytest.raises(ValueError, match="data.pkl is compressed"):
        torch_file.read(path)


def test_the_old_format_other_files_and_truncated_files_are_named(write_pth, tmp_path):
    old = tmp_path / "old.pth"
    old.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    with pytest.raises(ValueError, match="old.pth is in the format of PyTorch before"):
        torch_file.read(old)
    whole = write_pth({"x": np.zeros(1000, np.float32)})
    half = tmp_path / "half.pth"
    half.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match="half.pth is not a PyTorch file, or is"):
        torch_file.read(half)
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="has 0 files data.pkl"):
        torch_file.read(tmp_path / "other.pth")
