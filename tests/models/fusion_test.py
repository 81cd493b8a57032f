import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, init
from small_parts import SMALL, count, random

from restr_jax.models import FusionEncoder
from restr_jax.models.fusion import place_features


def fusion(kind, **changes):
    fields = {
        "width": 8,
        "num_layers": 2,
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
        model = fusion("cme", num_layers=4, share_weights=share_weights, **full)
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
