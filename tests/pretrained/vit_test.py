import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from configs import common
from restr_jax.models import build_model, layers, parameters
from restr_jax.models.vision import VisionEncoder
from restr_jax.pretrained import convert, load, vit

LAYOUTS = ("google", "timm", "huggingface")


def encoder(image_size=(64, 64), **changes):
    """Returns the small ViT of the golden files as a module of this project."""
    config = common.get_config("tiny", "released").model.vision
    config.width, config.num_layers, config.num_heads = 48, 3, 4
    config.mlp_dim = 192
    config.update(changes)
    return VisionEncoder(image_size=image_size, patch_size=16, **config)


def tokens_of(module, params, image):
    """Encodes channels-first images; keeps the class token."""
    _, seen = module.apply(
        {"params": params},
        jnp.asarray(image.transpose(0, 2, 3, 1)),
        deterministic=True,
        capture_intermediates=lambda module, _: module.name == "norm",
    )
    (norm,) = seen["intermediates"]["norm"]["__call__"]
    return norm


@pytest.fixture(scope="module")
def golden(testdata):
    with np.load(testdata / "golden" / "hf_vit_tiny.npz") as file:
        return dict(file)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_gives_the_same_bits(read_vit, tiny_vit, layout):
    arrays = read_vit(layout)
    assert convert.recognise(arrays) == layout
    converted = convert.convert(arrays, layout)
    assert converted.grid == (4, 4)
    assert converted.arrays.keys() == tiny_vit.arrays.keys()
    for path, array in tiny_vit.arrays.items():
        assert converted.arrays[path].dtype == np.float32
        np.testing.assert_array_equal(converted.arrays[path], array)
    # Each third-party array is used once, or dropped for a reason.
    assert sorted(row.theirs for row in converted.rows) == sorted(arrays)
    assert {row.ours for row in converted.rows if row.ours} == converted.arrays.keys()
    assert all(row.ours or row.remark for row in converted.rows)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("epsilon", "suffix"), [(1e-5, "_eps1e-5"), (1e-6, "_eps1e-6"), (1e-12, "")]
)
def test_the_encoder_matches_hugging_face(
    read_vit, golden, monkeypatch, layout, epsilon, suffix
):
    monkeypatch.setattr(layers, "LAYER_NORM_EPSILON", epsilon)
    arrays = convert.convert(read_vit(layout), layout).arrays
    params = parameters.put({}, arrays)["vision"]
    found = tokens_of(encoder(), params, golden["in/pixel_values"])
    assert_close(found, golden[f"out/last_hidden_state{suffix}"])


def test_an_image_of_another_size_uses_resized_positions(tiny_vit, golden, monkeypatch):
    monkeypatch.setattr(layers, "LAYER_NORM_EPSILON", 1e-12)
    weights = load.Weights("vit", tiny_vit.arrays, (4, 4), "bicubic", {})
    params = parameters.put({}, weights.on_grid((6, 5)).arrays)["vision"]
    image = golden["in/pixel_values_other_size"]
    found = tokens_of(encoder((96, 80)), params, image)
    assert_close(found, golden["out/last_hidden_state_other_size_bicubic"])


def test_the_image_classifiers_of_hugging_face_have_a_prefix(read_vit, tiny_vit):
    arrays = {
        f"vit.{name}": array
        for name, array in read_vit("huggingface").items()
        if not name.startswith("pooler.")
    }
    arrays["classifier.weight"] = np.zeros((10, 48), np.float32)
    arrays["classifier.bias"] = np.zeros(10, np.float32)
    assert convert.recognise(arrays) == "huggingface"
    converted = convert.convert(arrays, "huggingface")
    assert [row.theirs for row in converted.rows if not row.ours] == [
        "classifier.weight",
        "classifier.bias",
    ]
    np.testing.assert_array_equal(
        converted.arrays["vision/norm/scale"], tiny_vit.arrays["vision/norm/scale"]
    )


def names_of_transformers_5(arrays):
    """Returns arrays of version 4 under the names of `modeling_vit.py` of version 5."""
    renamed = {}
    for name, array in arrays.items():
        for old, new in (
            ("encoder.layer.", "layers."),
            ("attention.attention.query.", "attention.q_proj."),
            ("attention.attention.key.", "attention.k_proj."),
            ("attention.attention.value.", "attention.v_proj."),
            ("attention.output.dense.", "attention.o_proj."),
            ("intermediate.dense.", "mlp.fc1."),
            (".output.dense.", ".mlp.fc2."),
        ):
            name = name.replace(old, new)
        renamed[name] = array
    return renamed


@pytest.mark.parametrize("prefix", ["", "vit."])
def test_the_names_of_transformers_5_give_the_same_bits(read_vit, tiny_vit, prefix):
    old = {
        name: array
        for name, array in read_vit("huggingface").items()
        if not prefix or not name.startswith("pooler.")
    }
    arrays = {prefix + n: x for n, x in names_of_transformers_5(old).items()}
    assert f"{prefix}layers.2.attention.o_proj.weight" in arrays
    assert f"{prefix}layers.0.mlp.fc2.bias" in arrays
    assert convert.recognise(arrays) == "huggingface"
    converted = convert.convert(arrays, "huggingface")
    assert converted.arrays.keys() == tiny_vit.arrays.keys()
    for path, array in tiny_vit.arrays.items():
        np.testing.assert_array_equal(converted.arrays[path], array)
    del arrays[f"{prefix}layers.1.attention.v_proj.weight"]
    with pytest.raises(ValueError, match=r"1 missing:\n.*layers\.1\.attention\.v_proj"):
        convert.convert(arrays, "huggingface")


# Each layout: a patch projection, from which sizes are read, and two others.
SIZED, ABSENT, RESHAPED = (
    {
        "google": "embedding/kernel",
        "timm": "patch_embed.proj.weight",
        "huggingface": "embeddings.patch_embeddings.projection.weight",
    },
    {
        "google": "Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel",
        "timm": "blocks.1.mlp.fc1.weight",
        "huggingface": "encoder.layer.1.intermediate.dense.weight",
    },
    {
        "google": "Transformer/encoderblock_2/LayerNorm_2/scale",
        "timm": "blocks.2.norm2.weight",
        "huggingface": "encoder.layer.2.layernorm_after.weight",
    },
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_errors_are_reported_at_once(read_vit, layout):
    arrays = read_vit(layout)
    for which in (SIZED, ABSENT):
        arrays.pop(which[layout])
    arrays[RESHAPED[layout]] = np.zeros(47, np.float32)
    arrays["fc_norm.weight"] = np.zeros(48, np.float32)
    with pytest.raises(ValueError) as caught:
        convert.convert(arrays, layout)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    missing, extra, reshaped = map(
        lines.index, ("2 missing:", "1 not expected:", "1 of another shape:")
    )
    listed = " ".join(lines[missing:extra])
    assert SIZED[layout] in listed and ABSENT[layout] in listed
    assert lines[extra + 1] == "fc_norm.weight (48,)"
    assert lines[reshaped + 1] == f"{RESHAPED[layout]} (47,), not (48,)"


def test_an_array_that_gives_the_sizes_may_be_wrong(read_vit):
    arrays = read_vit("google")
    arrays["embedding/kernel"] = np.zeros((768, 48), np.float32)
    with pytest.raises(ValueError, match=r"1 of another shape:\n  embedding/kernel"):
        convert.convert(arrays, "google")


def test_positions_of_an_oblong_image_need_their_grid(read_vit):
    arrays = read_vit("timm")
    arrays["pos_embed"] = arrays["pos_embed"][:, :13]
    with pytest.raises(ValueError, match="has 12 patches, which is not a square"):
        convert.convert(arrays, "timm")
    with pytest.raises(ValueError, match="has 12 patches, which are not 2 x 7"):
        convert.convert(arrays, "timm", (2, 7))
    assert convert.convert(arrays, "timm", (2, 6)).grid == (2, 6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_another_precision_become_float32(read_vit, dtype):
    arrays = {name: x.astype(dtype) for name, x in read_vit("timm").items()}
    converted = convert.convert(arrays, "timm").arrays
    expected = arrays["norm.weight"].astype(np.float32)
    np.testing.assert_array_equal(converted["vision/norm/scale"], expected)
    assert {x.dtype for x in converted.values()} == {np.dtype(np.float32)}


def test_values_other_than_weights_are_refused(read_vit):
    arrays = read_vit("timm")
    arrays["norm.bias"] = np.full(48, np.nan, np.float32)
    with pytest.raises(ValueError, match="norm.bias holds values that are not finite"):
        convert.convert(arrays, "timm")
    arrays["norm.bias"] = np.zeros(48, np.int8)
    with pytest.raises(ValueError, match="norm.bias holds int8"):
        convert.convert(arrays, "timm")


def full_size_google(testdata, grid):
    """Returns zeros with the names and shapes of Google's file; they take no memory."""
    text = (testdata / "vit_b16_google_shapes.json").read_text()
    shapes = {name: tuple(shape) for name, shape in json.loads(text).items()}
    shapes["Transformer/posembed_input/pos_embedding"] = (1, 1 + grid**2, 768)
    if grid == 24:  # Fine-tuned models have another head and no "pre_logits".
        shapes = {n: s for n, s in shapes.items() if not n.startswith("pre_logits")}
        shapes |= {"head/kernel": (768, 1000), "head/bias": (1000,)}
    zero = np.zeros((), np.float32)
    return {name: np.broadcast_to(zero, shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("grid", "dropped"), [(14, 4), (24, 2)])
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_googles_full_file_fits_the_full_model(testdata, grid, dropped, preset):
    converted = convert.convert(full_size_google(testdata, grid), "google")
    assert converted.grid == (grid, grid) and converted.num_heads == {"vision": 12}
    assert len([row for row in converted.rows if not row.ours]) == dropped
    # 85,798,656 with 196 patches, without the head.
    values = sum(x.size for x in converted.arrays.values())
    assert values == 85_798_656 + 768 * (grid**2 - 196)
    model = build_model(common.get_config("B/16", preset).model, 20)
    shapes = parameters.abstract(model, 20)
    weights = load.Weights(
        "vit", converted.arrays, converted.grid, "bilinear", converted.num_heads
    )
    fitted = load.fit(weights, shapes, model, ())
    has_class_token = preset == "released"
    assert fitted["vision/positions"].shape == (1, 900 + has_class_token, 768)
    assert (vit.CLASS_TOKEN in fitted) == has_class_token
