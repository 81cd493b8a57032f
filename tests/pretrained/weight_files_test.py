import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from restr_jax.pretrained import weight_files


def test_every_kind_of_file_gives_the_same_arrays(tmp_path, write_pth, random_arrays):
    arrays = random_arrays(a=(2, 3), b=(4,))
    np.savez(tmp_path / "w.npz", **arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors")
    paths = [tmp_path / "w.npz", tmp_path / "w.safetensors"]
    paths += [write_pth(arrays, name) for name in ("w.pth", "w.bin", "w.pt")]
    for path in paths:
        found = weight_files.read_arrays(path)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_bfloat16_is_read(tmp_path):
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"x": array}, tmp_path / "w.safetensors")
    found = weight_files.read_arrays(str(tmp_path / "w.safetensors"))["x"]
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pth"])
@pytest.mark.parametrize("kept", [0, 8, 100, 4000])
def test_a_file_that_ends_too_early_is_named(
    tmp_path, write_pth, random_arrays, kind, kept
):
    arrays = random_arrays(a=(50, 30))
    np.savez(tmp_path / "w.npz", **arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors")
    write_pth(arrays, "w.pth")
    path = tmp_path / f"w.{kind}"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"w\.{kind} is .*damaged"):
        weight_files.read_arrays(path)


def test_pickled_objects_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", x=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="not a valid .npz file .*allow_pickle"):
        weight_files.read_arrays(tmp_path / "w.npz")
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"one.npz is damaged or not a valid"):
        weight_files.read_arrays(tmp_path / "one.npz")


def test_absent_files_and_other_endings_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npz"):
        weight_files.read_arrays(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"its name ends in none of .npz, .safetens"):
        weight_files.read_arrays(tmp_path / "model.h5")
