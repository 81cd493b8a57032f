import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from restr_jax.models import parameters
from restr_jax.models.vision import VisionEncoder
from restr_jax.pretrained import convert, load, pixels

MEAN, STD = (np.array(x, np.float32) for x in pixels.STATISTICS["imagenet"])
SIZES = {"width": 24, "num_layers": 2, "num_heads": 3, "mlp_dim": 48}


def random_deit(width, layers, hidden, size, grid):
    """Returns random weights with a DeiT's names and shapes, without its classifier."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid**2, width),
        "patch_embed.proj.weight": (width, 3, size, size),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(layers):
        block = f"blocks.{i}"
        linears = {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (hidden, width),
            "mlp.fc2": (width, hidden),
        }
        for name, shape in linears.items():
            shapes[f"{block}.{name}.weight"] = shape
            shapes[f"{block}.{name}.bias"] = shape[:1]
        for name in ("norm1", "norm2"):
            shapes[f"{block}.{name}.weight"] = shapes[f"{block}.{name}.bias"] = (width,)
    rng = np.random.default_rng(0)
    return {n: rng.normal(0, 0.3, s).astype(np.float16) for n, s in shapes.items()}


@pytest.fixture(scope="module")
def deit():
    return random_deit(24, 2, 48, size=4, grid=14)


@pytest.mark.parametrize("grid", [(4, 5), (14, 14), (20, 15)])
def test_folded_weights_give_the_same_output(deit, grid):
    converted = convert.convert(deit, "timm")
    module = VisionEncoder(
        image_size=(4 * grid[0], 4 * grid[1]),
        patch_size=4,
        init_std=0.02,
        drop_path_rate=0.0,
        positions_init="normal",
        conv_init=True,
        class_token=True,
        resize_by_count=False,
        **SIZES,
    )
    image = np.random.default_rng(1).integers(0, 256, (*module.image_size, 3))
    # A letterbox has grey margins.
    image[:, :3] = 127.5
    ours = (image - 127.5) / 127.5
    theirs = (image / 255 - MEAN) / STD

    def encode(arrays, image):
        weights = load.Weights("deit", arrays, converted.grid, "bicubic", {})
        params = parameters.put({}, weights.on_grid(grid).arrays)["vision"]
        apply = jax.jit(lambda p, x: module.apply({"params": p}, x, deterministic=True))
        return apply(params, jnp.asarray(image[None], jnp.float32))

    expected = encode(converted.arrays, theirs)
    statistics = pixels.STATISTICS["imagenet"]
    found = encode(pixels.fold(converted.arrays, statistics), ours)
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_folding_matches_a_computation_by_hand():
    # One patch of one pixel, one output: 2 r + 3 g + 4 b + 5.
    arrays = {
        "vision/patch_embedding/kernel": np.array([[2.0], [3.0], [4.0]], np.float32),
        "vision/patch_embedding/bias": np.array([5.0], np.float32),
    }
    given = pixels.parse("0.25,0.5,0.5/0.25,0.5,0.125")
    folded = pixels.fold(arrays, given)
    # ((x + 1) / 2 - mean) / std is 2 x + 1 of red, x of green and 4 x of blue.
    kernel = folded["vision/patch_embedding/kernel"]
    np.testing.assert_array_equal(kernel, [[4.0], [3.0], [16.0]])
    np.testing.assert_array_equal(folded["vision/patch_embedding/bias"], [7.0])
    assert pixels.fold(arrays, pixels.parse("half")) is arrays


@pytest.mark.parametrize(
    "text", ["imagenett", "0.5,0.5,0.5", "1,1/1,1", "0,0,0/1,0,1", "0,0,0/1,nan,1", ""]
)
def test_invalid_statistics_are_refused(text):
    with pytest.raises(ValueError, match="none of half, imagenet, clip, nor mean"):
        pixels.parse(text)


def test_a_deit_converts_with_one_command(deit, tmp_path, monkeypatch, capsys):
    from restr_jax.pretrained import __main__

    path, output = tmp_path / "deit.safetensors", tmp_path / "deit.npz"
    safetensors.numpy.save_file(deit, path)
    arguments = [f"--input={path}", f"--output={output}", "--pixels=imagenet"]
    monkeypatch.setattr("sys.argv", ["pretrained", *arguments])
    __main__.main()
    assert "has the layout of timm" in capsys.readouterr().out
    read = load.read(output)
    assert read.grid == (14, 14)
    expected = pixels.fold(
        convert.convert(deit, "timm").arrays, pixels.STATISTICS["imagenet"]
    )
    np.testing.assert_array_equal(
        read.arrays["vision/patch_embedding/kernel"],
        expected["vision/patch_embedding/kernel"],
    )
