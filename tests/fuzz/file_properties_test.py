import io
import random

import numpy as np
import pytest
import safetensors.numpy
from fuzz.contract import TESTDATA, write
from fuzz.targets import TARGETS
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from restr_jax.data import photograph, preprocess
from restr_jax.pretrained import convert, weight_files

sides = st.integers(1, 12)

# Weights.


@given(
    st.dictionaries(
        st.text("abc./_0", min_size=1, max_size=6),
        st.tuples(
            st.lists(st.integers(0, 3), max_size=3),
            st.sampled_from(["f2", "f4", "f8", "i8", "u1", "?"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_arrays_are_read_as_they_were_saved(kinds):
    assume(not any(name.endswith(".npy") or name in ("file", ".") for name in kinds))
    rng = np.random.default_rng(0)
    arrays = {n: rng.integers(0, 9, s).astype(t) for n, (s, t) in kinds.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    for path in (
        write("saved.npz", file.getvalue()),
        write("saved.safetensors", safetensors.numpy.save(arrays)),
    ):
        found = weight_files.read_arrays(path)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("name", "axis", "size"),
    [
        ("encoder_v.patch_embed.proj.weight", 3, 0),
        ("encoder_v.pos_embed", 1, 1),  # a class token and no patch
        ("encoder_l.embedding.weight", 0, 0),
        ("fusion_module.proj_v.weight", 0, 0),
    ],
)
def test_a_model_with_a_zero_size_is_refused(name, axis, size):
    with np.load(TESTDATA / "golden" / "released_tiny.npz") as file:
        names = [key for key in file if key.startswith("param/")]
        arrays = {key.removeprefix("param/"): file[key] for key in names}
    arrays[name] = np.take(arrays[name], range(size), axis)
    with pytest.raises(ValueError, match="This is not a state dict of the"):
        convert.convert(arrays, "released")


# Images.


@given(
    sides,
    sides,
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F"]),
    st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"]),
    st.integers(0, 9),
)
def test_every_image_that_pillow_writes_is_read_upright(
    height, width, mode, kind, turn
):
    exif = Image.Exif()
    exif[0x0112] = turn
    image, file = (
        Image.new("RGB", (width, height), (9, 99, 199)).convert(mode),
        io.BytesIO(),
    )
    try:
        image.save(file, kind, exif=exif)
    except (OSError, ValueError, KeyError):
        return
    pixels = photograph.to_pixels(write("made.jpg", file.getvalue()))
    turned = turn in (5, 6, 7, 8) and kind in ("png", "jpeg", "tiff", "webp")
    upright = (width, height, 3) if turned else (height, width, 3)
    assert pixels.shape == upright
    # Pillow itself rotates only TIFF.
    decoded = preprocess.decode_image(file.getvalue(), "it")
    assert decoded.shape == (upright if kind == "tiff" else (height, width, 3))


# Arbitrary bytes.


PIECES = [b"\x00", b"\xff" * 4, b"9" * 20, b"-1", b"[["]


def damage(content, rng):
    """Cuts, copies and changes a few bytes."""
    content = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        start = rng.randrange(len(content) + 1)
        end = start + rng.choice([1, 1, 2, 4, 16])
        how = rng.randrange(5)
        if how == 0:
            del content[start:end]
        elif how == 1:
            content[start:start] = content[start:end]
        elif how == 2:
            content[start:end] = rng.choice(
                [b"\x00", b"\xff" * 4, b"9" * 20, b"-1", b"[["]
            )
        elif how == 3 and start < len(content):
            content[start] ^= 1 << rng.randrange(8)
        else:
            del content[start:]
    return bytes(content)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_files_raise_documented_errors_only(name):
    rng = random.Random(name)
    for _ in range(60):
        TARGETS[name].run(damage(rng.choice(TARGETS[name].seeds), rng))
