"""Checks shared by the artifacts of all formats."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from restr_jax.export import artifact, parity
from restr_jax.inference import segmenter
from restr_jax.models import bound

PROGRAMS = {
    "stablehlo": ["encode.stablehlo", "segment.stablehlo", "weights.npz"],
    "onnx": ["encode.onnx", "segment.onnx"],
}


@pytest.fixture(params=["stablehlo", pytest.param("onnx", marks=pytest.mark.slow)])
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, exported):
    """Returns the folder of the exported small model."""
    return exported(kind)


@pytest.fixture
def copy(folder, tmp_path):
    """Returns a copy that tests may damage."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize(("b", "k"), [(1, 1), (3, 1), (2, 5)])
def test_any_number_of_images_and_expressions_is_accepted(small, folder, b, k):
    loaded = artifact.load(folder)
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (b, 32, 48, 3)).astype(np.float32)
    tokens = random.integers(1, len(small.vocabulary), (b, k, 6)).astype(np.int32)
    tokens[..., 4:] = 0
    visual = loaded.encode(images)
    encode = jax.jit(bound(segmenter.encode, small.model))
    expected = encode(small.params, images)
    np.testing.assert_allclose(visual, expected, atol=1e-5)
    outputs = loaded.run(visual, tokens)
    shapes = {name: array.shape for name, array in outputs.items()}
    assert shapes == {
        "pixel_logits": (b, k, 32, 48),
        "patch_logits": (b, k, 4, 6),
        "word_attention": (b, k, 6),
    }
    segment = jax.jit(bound(segmenter.segment, small.model))
    wanted = segment(small.params, expected, tokens)
    for given, array in zip(outputs.values(), wanted, strict=True):
        np.testing.assert_allclose(given, array, atol=1e-5)


def test_the_loader_does_not_need_this_package(kind, folder, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.save(tmp_path / "image.npy", image)
    code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import numpy as np
import restr_exported
model = restr_exported.load({str(folder)!r})
found = model.segment(np.load("image.npy"), ["the red circle"])
np.save("given.npy", found[0].probability)
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(loaded & {{"restr_jax", "flax", "ml_collections", "PIL", "jax"}}))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ("['jax']\n" if kind == "stablehlo" else "[]\n")
    loaded = artifact.load(folder)
    expected = loaded.segment(image, ["the red circle"])[0].probability
    np.testing.assert_allclose(np.load(tmp_path / "given.npy"), expected, atol=1e-5)


def test_an_artifact_has_exactly_its_own_files(kind, folder):
    assert {path.name for path in folder.iterdir()} == {
        *PROGRAMS[kind],
        "parity.json",
        "restr.json",
        "restr_exported.py",
        "restr_text.py",
        "vocabulary.txt",
    }
    found = json.loads((folder / "parity.json").read_text())
    assert max(row["share"] for row in found["outputs"]) < 1e-5


def test_an_artifact_of_another_model_is_refused(small, copy):
    vision = dict(small.params["vision"])
    vision["norm"] = dict(vision["norm"], bias=vision["norm"]["bias"] + 0.01)
    changed = small._replace(params=dict(small.params, vision=vision))
    with pytest.raises(ValueError, match="does not match the model"):
        parity.check(changed, copy)
    with pytest.raises(FileNotFoundError):
        artifact.load(copy)


def test_a_damaged_file_is_named(kind, copy):
    for name in [*PROGRAMS[kind], "vocabulary.txt"]:
        whole = (copy / name).read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            artifact.load(copy)
        (copy / name).write_bytes(whole)


def test_a_missing_file_is_named(kind, copy):
    (copy / PROGRAMS[kind][0]).unlink()
    with pytest.raises(FileNotFoundError, match=PROGRAMS[kind][0]):
        artifact.load(copy)


def test_an_unfinished_export_cannot_be_loaded(copy):
    artifact.begin(copy)
    with pytest.raises(FileNotFoundError, match=r"restr\.json"):
        artifact.load(copy)


def test_another_format_is_refused(copy):
    about = json.loads((copy / "restr.json").read_text())
    about["format"] = "restr_jax stablehlo 9"
    (copy / "restr.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="has the format 'restr_jax stablehlo 9'"):
        artifact.load(copy)
