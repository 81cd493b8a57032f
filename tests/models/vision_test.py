import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, init
from small_parts import SMALL, count, random

from restr_jax.models import VisionEncoder
from restr_jax.models.positions import resize_grid, sinusoidal_grid
from restr_jax.models.vision import patchify


def vision(**changes):
    fields = {
        "image_size": (8, 12),
        "patch_size": 4,
        "width": 8,
        "num_layers": 1,
        "drop_path_rate": 0.0,
        "positions_init": "normal",
        "conv_init": False,
        "class_token": False,
        "resize_by_count": False,
    }
    return VisionEncoder(**(SMALL | fields | changes))


def test_patches_are_cut_row_by_row():
    image = jnp.arange(1 * 4 * 6 * 3).reshape(1, 4, 6, 3).astype(jnp.float32)
    patches = patchify(image, 2)
    assert patches.shape == (1, 6, 12)
    np.testing.assert_array_equal(patches[0, 0], image[0, :2, :2].ravel())
    np.testing.assert_array_equal(patches[0, 1], image[0, :2, 2:4].ravel())
    np.testing.assert_array_equal(patches[0, 3], image[0, 2:4, :2].ravel())


def test_an_image_with_a_partial_patch_is_refused():
    with pytest.raises(ValueError, match="4 x 5 pixels is not a whole number"):
        patchify(jnp.zeros((1, 4, 5, 3)), 2)


def test_positions_are_resized_at_half_pixel_centres():
    table = jnp.array([[[0.0], [1.0]]])  # one row, two columns
    enlarged = resize_grid(table, (1, 2), (2, 4))
    assert enlarged[0, :, 0].tolist() == [0, 0.25, 0.75, 1] * 2
    # Without anti-aliasing: of each four values, the mean of the middle two.
    shrunk = resize_grid(jnp.arange(8.0).reshape(1, 8, 1), (1, 8), (1, 2))
    assert shrunk[0, :, 0].tolist() == [1.5, 5.5]


def test_an_image_of_another_size_gets_resized_positions():
    fields = {"image_size": (8, 16), "num_layers": 0}
    model, made_for = vision(**fields), jnp.zeros((1, 8, 16, 3))
    params = init(model, made_for, seed=0)["params"]
    # Only positions, whose order the last LayerNorm preserves.
    params["positions"] = random(1, 8, 8)

    def encode(height, width, **changes):
        other = vision(**(fields | changes))
        image = jnp.zeros((1, height, width, 3))
        return apply(other, {"params": params}, image)

    def normalised(table):
        return nn.LayerNorm(epsilon=1e-5).apply({"params": params["norm"]}, table)

    np.testing.assert_allclose(
        encode(12, 20),
        normalised(resize_grid(params["positions"], (2, 4), (3, 5))),
        rtol=0,
        atol=1e-6,
    )
    # The same number of patches in another arrangement.
    np.testing.assert_allclose(
        encode(16, 8),
        normalised(resize_grid(params["positions"], (2, 4), (4, 2))),
        rtol=0,
        atol=1e-6,
    )
    np.testing.assert_array_equal(encode(16, 8, resize_by_count=True), encode(8, 16))


@pytest.mark.parametrize(("conv_init", "fan_out"), [(True, 8 * 16), (False, 8)])
def test_initial_patch_weights_have_the_xavier_bound(conv_init, fan_out):
    model, image = vision(conv_init=conv_init), jnp.zeros((1, 8, 12, 3))
    params = init(model, image, seed=0)["params"]
    bound = np.sqrt(6 / (3 * 16 + fan_out))
    largest = jnp.abs(params["patch_embedding"]["kernel"]).max()
    assert 0.98 * bound < largest <= bound


def test_a_class_token_is_seen_by_the_patches_and_dropped():
    image = random(1, 8, 12, 3)
    for start in ("normal", "sinusoidal"):
        model = vision(class_token=True, positions_init=start)
        params = init(model, image, seed=0)["params"]
        assert params["class_token"].shape == (1, 1, 8)
        assert params["positions"].shape == (1, 7, 8)
    assert not params["positions"][0, 0].any()  # It has no place in the grid.
    np.testing.assert_array_equal(params["positions"][0, 1:], sinusoidal_grid(2, 3, 8))
    features = apply(model, {"params": params}, image)
    assert features.shape == (1, 6, 8)
    params["class_token"] += random(1, 1, 8)
    changed = apply(model, {"params": params}, image)
    assert (jnp.abs(changed - features).max(-1) > 1e-4).all()


def test_vit_b16_has_its_published_number_of_parameters():
    model = vision(
        image_size=(224, 224),
        patch_size=16,
        width=768,
        num_layers=12,
        num_heads=12,
        mlp_dim=3072,
    )
    image = jnp.zeros((1, 224, 224, 3))
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), image, deterministic=True)["params"]
    )
    # The published count includes a class token and its position, absent from Eq. 6.
    assert count(shapes) == 85_798_656 - 2 * 768


def test_sinusoidal_positions_encode_row_and_column():
    grid = sinusoidal_grid(2, 3, 8)
    assert grid.shape == (6, 8)
    np.testing.assert_array_equal(grid[0, :4], grid[2, :4])  # the same row
    np.testing.assert_array_equal(grid[1, 4:], grid[4, 4:])  # the same column
    assert len(np.unique(grid.round(6), axis=0)) == 6
    model = vision(positions_init="sinusoidal")
    image = jnp.zeros((1, 8, 12, 3))
    params = init(model, image, seed=0)["params"]
    np.testing.assert_array_equal(params["positions"][0], grid)
    with pytest.raises(ValueError, match="positions_init 'flat'"):
        vision(positions_init="flat").init(jax.random.key(0), image, deterministic=True)
