import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, init

from restr_jax.models import Decoder, FusionEncoder, LanguageEncoder, VisionEncoder
from restr_jax.models.fusion import place_features
from restr_jax.models.upsampling import upsample
from restr_jax.models.vision import patchify, resize_grid, sinusoidal_grid

SMALL = {"num_heads": 2, "mlp_dim": 12, "init_std": 0.3}


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def count(tree):
    return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def vision(**changes):
    fields = {
        "image_size": (8, 12),
        "patch_size": 4,
        "width": 8,
        "num_layers": 2,
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


def language(**changes):
    fields = {
        "vocab_size": 9,
        "width": 8,
        "num_layers": 2,
        "post_norm": False,
        "mask_padding": True,
        "project": False,
        "out_width": 10,
    }
    return LanguageEncoder(**(SMALL | fields | changes))


def test_padding_changes_no_word_and_its_row_gets_no_gradient():
    model = language()
    short, long = jnp.array([[3, 5, 2]]), jnp.array([[3, 5, 2, 0, 0, 0]])
    variables = init(model, long, seed=0)
    few, _ = apply(model, variables, short)
    many, mask = apply(model, variables, long)
    assert mask.tolist() == [[True, True, True, False, False, False]]
    # Sums over more terms (the added ones are zero) in another order.
    np.testing.assert_allclose(many[:, :3], few, rtol=0, atol=1e-6)

    def words_sum(params):
        words, _ = apply(model, {"params": params}, long)
        return (words[:, :3] ** 3).sum()

    gradient = jax.jit(jax.grad(words_sum))(variables["params"])["words"]["embedding"]
    rows = jnp.abs(gradient).sum(-1) > 0
    assert rows.tolist() == [i in (3, 5, 2) for i in range(9)]


def test_words_can_be_projected_to_the_width_of_the_fusion():
    tokens = jnp.array([[3, 5, 2]])
    words, params = {}, {}
    for project in (False, True):
        model = language(project=project)
        variables = init(model, tokens, seed=0)
        params[project] = variables["params"]
        words[project], _ = apply(model, variables, tokens)
    assert words[False].shape == (1, 3, 8) and words[True].shape == (1, 3, 10)
    assert "project" not in params[False]
    assert params[True]["norm"]["scale"].shape == (10,)


def test_unmasked_padding_changes_the_words():
    tokens = jnp.array([[3, 5, 0, 0]])
    masked, unmasked = language(), language(mask_padding=False)
    variables = init(masked, tokens, seed=0)
    one, mask = apply(masked, variables, tokens)
    other, same = apply(unmasked, variables, tokens)
    assert mask.tolist() == same.tolist() == [[True, True, False, False]]
    assert (jnp.abs(one - other)[0, :2].max(-1) > 1e-4).all()


def fusion(kind, **changes):
    fields = {
        "width": 8,
        "num_layers": 4,
        "drop_path_rate": 0.0,
        "input_std": 0.3,
        "share_weights": False,
        "zero_padding": True,
        "mask_padding": True,
        "map_outputs": False,
    }
    return FusionEncoder(kind=kind, **(SMALL | fields | changes))


def fuse(model, visual, words=None, seed=0):
    words = random(1, 2, 3, 6, seed=9) if words is None else words
    mask = jnp.ones(words.shape[:-1], bool)
    arguments = visual, words, mask
    variables = init(model, *arguments, seed=seed)
    return apply(model, variables, *arguments)


@pytest.mark.parametrize("kind", ["cme", "vme", "ime"])
def test_fusion_gives_patches_and_a_classifier_per_expression(kind):
    projected, patches, classifier = fuse(fusion(kind), random(1, 4, 5))
    assert projected.shape == (1, 4, 8)
    assert patches.shape == (1, 2, 4, 8) and classifier.shape == (1, 2, 8)
    assert jnp.abs(patches[:, 0] - patches[:, 1]).max() > 1e-3


def test_only_ime_isolates_the_classifier_from_the_image():
    one, other = random(1, 4, 5, seed=1), random(1, 4, 5, seed=2)
    for kind in ("cme", "vme", "ime"):
        first, second = (fuse(fusion(kind), image).classifier for image in (one, other))
        assert bool((first == second).all()) == (kind == "ime"), kind


def test_fusion_layers_have_the_paper_s_parameters():
    def encoders(share_weights):
        full = {"width": 768, "num_heads": 12, "mlp_dim": 3072}
        model = fusion("cme", share_weights=share_weights, **full)
        visual, words = jnp.zeros((1, 4, 768)), jnp.zeros((1, 1, 3, 300))
        mask = jnp.ones((1, 1, 3), bool)
        params = jax.eval_shape(
            lambda: model.init(
                jax.random.key(0), visual, words, mask, deterministic=True
            )["params"]
        )
        return count(params["visual_linguistic"]) + count(params["linguistic_seed"])

    layer = 12 * 768**2 + 13 * 768
    assert encoders(False) == 4 * layer  # 28.35 M, Table 3b
    assert encoders(True) == 2 * layer  # 14.18 M
    assert round(4 * layer / 1e6, 2) == 28.35 and round(2 * layer / 1e6, 2) == 14.18


@pytest.mark.parametrize("kind", ["cme", "vme", "ime"])
def test_each_output_can_have_its_own_projection(kind):
    visual, words = random(1, 4, 5), random(1, 2, 3, 6, seed=9)
    arguments = visual, words, jnp.ones(words.shape[:-1], bool)
    mapped, plain = fusion(kind, map_outputs=True), fusion(kind)
    params = init(mapped, *arguments, seed=0)["params"]
    other = {k: v for k, v in params.items() if not k.endswith("_map")}
    one = apply(mapped, {"params": params}, *arguments)
    two = apply(plain, {"params": other}, *arguments)
    for ours, bare, name in zip(
        one[1:], two[1:], ("patch_map", "classifier_map"), strict=True
    ):
        kernel = params[name]["kernel"]
        assert set(params[name]) == {"kernel"}
        np.testing.assert_allclose(ours, bare @ kernel, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["cme", "vme", "ime"])
def test_fields_control_padding_in_the_fusion(kind):
    visual, words = random(1, 4, 5), random(1, 1, 3, 6, seed=9)
    mask = jnp.array([[[True, True, False]]])
    other = words.at[..., 2, :].set(7.0)
    start = fusion(kind)
    variables = init(start, visual, words, mask, seed=0)

    def differ(**fields):
        one, two = (
            apply(fusion(kind, **fields), variables, visual, w, mask)
            for w in (words, other)
        )
        return bool((one.classifier != two.classifier).any())

    assert not differ()
    assert not differ(zero_padding=False)
    assert not differ(mask_padding=False)
    assert differ(zero_padding=False, mask_padding=False)


def test_an_invalid_fusion_is_refused():
    with pytest.raises(ValueError, match="fusion kind 'sum'"):
        fuse(fusion("sum"), random(1, 4, 5))
    with pytest.raises(ValueError, match="even, not 3"):
        fuse(fusion("cme", num_layers=3), random(1, 4, 5))


def decode_as_printed(params, visual, masked):
    """Decodes in the paper's order: upsample, linear, activation."""
    x = jnp.concatenate([visual, masked], axis=-1)
    for i in range(3):
        x = upsample(x, 2) @ params[f"linear_{i}"]["kernel"]
        x = nn.leaky_relu(x, 0.01)
    return (x @ params["to_logit"]["kernel"])[..., 0]


def test_linear_before_upsampling_equals_the_paper_s_order():
    visual, masked = random(1, 3, 2, 8), random(1, 3, 2, 8, seed=1)
    model = Decoder(patch_size=8, width=8)
    variables = jax.jit(model.init)(jax.random.key(0), visual, masked)
    ours = jax.jit(model.apply)(variables, visual, masked)
    printed = jax.jit(decode_as_printed)(variables["params"], visual, masked)
    assert ours.shape == (1, 24, 16)
    # Equal in exact arithmetic; float32 rounds sums in another order.
    np.testing.assert_allclose(ours, printed, rtol=0, atol=2e-6)

    def both(function):
        def total(visual, masked):
            return (function(visual, masked) ** 2).sum()

        return jax.jit(jax.grad(total, argnums=(0, 1)))

    for one, other in zip(
        both(lambda v, m: model.apply(variables, v, m))(visual, masked),
        both(lambda v, m: decode_as_printed(variables["params"], v, m))(visual, masked),
        strict=True,
    ):
        scale = float(jnp.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


def test_a_linear_with_bias_commutes_with_upsampling_too():
    x, kernel, bias = random(1, 3, 2, 4), random(4, 5, seed=1), random(5, seed=2)
    first, last = upsample(x @ kernel + bias, 2), upsample(x, 2) @ kernel + bias
    np.testing.assert_allclose(first, last, rtol=0, atol=3e-6)


def test_a_patch_that_doubling_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="patch size of 6 with a width of 8"):
        Decoder(6, 8).init(jax.random.key(0), random(1, 2, 2, 8), random(1, 2, 2, 8))


def test_places_of_patches_are_cosines_of_their_centres():
    places = place_features(2, 4)
    assert places.shape == (8, 8)
    down, across = 0.75, 0.375  # Second row, second column.
    expected = [np.cos(np.pi * k * u) for u in (down, across) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(places[5], expected, rtol=0, atol=1e-6)


def test_trained_coordinates_distinguish_equal_patches():
    arguments = jnp.ones((1, 4, 5)), random(1, 1, 3, 6), jnp.ones((1, 1, 3), bool)
    model, plain = fusion("cme", coordinates=True), fusion("cme")
    params = init_at(model, arguments, (2, 2))
    assert params["coordinates"]["kernel"].shape == (8, 8)
    others = {k: v for k, v in params.items() if k != "coordinates"}
    start = apply(model, {"params": params}, *arguments, grid=(2, 2))
    bare = apply(plain, {"params": others}, *arguments)
    assert (start.patches == bare.patches).all()
    kernel = params["coordinates"]["kernel"].at[0, 0].set(1.0)
    params["coordinates"] = {"kernel": kernel}
    moved = apply(model, {"params": params}, *arguments, grid=(2, 2))
    assert (moved.projected[0, 0] - moved.projected[0, 2])[0] == pytest.approx(
        2 * np.cos(np.pi / 4)
    )
    assert jnp.abs(moved.patches[0, 0, 0] - moved.patches[0, 0, 2]).max() > 1e-3


def init_at(model, arguments, grid):
    init = functools.partial(model.init, grid=grid, deterministic=True)
    return jax.jit(init)(jax.random.key(0), *arguments)["params"]
