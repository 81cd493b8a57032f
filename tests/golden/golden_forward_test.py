import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.variants import QUICK, VARIANTS

from restr_jax.models import build_model
from restr_jax.models.positions import resize_grid, sinusoidal_positions
from restr_jax.training.losses import patch_labels

# float32 against float32, relative to an array's largest value. A single wrong choice
# (epsilon, GELU, order of positions ...) shifts the outputs at least ten times as far.
TOLERANCE = 3e-5
PATCHES, WORDS = 16, 20


def run(model, params, image, tokens):
    @functools.partial(jax.jit, compiler_options=QUICK)
    def segment(params, image, tokens):
        return model.apply({"params": params}, image, tokens, deterministic=True)

    return segment(params, image, tokens)


def observe(model, params, image, tokens):
    """Runs a model and keeps the first input and output of every module."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def segment(params, image, tokens):
        seen = {}

        def keep(call, arguments, options, context):
            output = call(*arguments, **options)
            if context.method_name == "__call__" and arguments:
                path = "/".join(context.module.path)
                seen.setdefault(path, (arguments[0], output))
            return output

        with nn.intercept_methods(keep):
            variables = {"params": params}
            output = model.apply(variables, image, tokens, deterministic=True)
        return output, seen

    return segment(params, image, tokens)


def layer_norm(x, params):
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return centred / spread * params["scale"] + params["bias"]


def channels_first(rows, side):
    return np.reshape(rows, (2, side, side, -1)).transpose(0, 3, 1, 2)


def intermediates(variant, seen, mask):
    """Collects inputs and outputs of the modules under their golden names."""
    norm = variant.params["fusion"]["norm"]

    def taken(path):
        return np.asarray(seen[path][0])

    def given(path):
        return np.asarray(seen[path][1])

    def joined_as_released(tokens):
        if variant.config.fusion.kind != "vme":
            return tokens
        # The released program puts the seed last.
        patches, seed, words = np.split(tokens, [PATCHES, PATCHES + 1], axis=-2)
        return np.concatenate([patches, words, seed], axis=-2)

    joined = joined_as_released(given("fusion/visual_linguistic"))
    handed_on = (
        joined if variant.config.fusion.kind == "cme" else layer_norm(joined, norm)
    )
    found = {
        "patch_embed": given("vision/patch_embedding"),
        "visual_block_input": taken("vision/encoder"),
        "visual_features": given("vision/norm"),
        "language_position_encoding": sinusoidal_positions(WORDS, 30),
        "language_block_input": taken("language/encoder"),
        "language_after_proj_lang": given("language/project"),
        "language_features": given("language/norm"),
        "visual_projected": given("fusion/visual_linear"),
        "language_projected": joined_as_released(taken("fusion/visual_linguistic"))[
            ..., PATCHES : PATCHES + WORDS, :
        ],
        "vl_output_raw": joined,
        "fused_visual": taken("fusion/patch_map"),
        "fused_language": handed_on[..., PATCHES : PATCHES + WORDS, :],
        "adaptive_classifier_before_proj": taken("fusion/classifier_map"),
        "adaptive_classifier": given("fusion/classifier_map"),
        "patches_projected": given("fusion/patch_map"),
        "patch_labels": patch_labels(mask, 16, 0.0),
    }
    for i in range(2):
        found[f"visual_block_{i}"] = given(f"vision/encoder/block_{i}")
        found[f"language_block_{i}"] = given(f"language/encoder/block_{i}")
    if variant.config.fusion.kind != "vme":
        # The released program puts the seed last.
        stream = taken("fusion/linguistic_seed"), given("fusion/linguistic_seed")
        stream = [np.roll(tokens, -1, axis=-2) for tokens in stream]
        found["seed_stream_input"] = stream[0]
        found["seed_stream_output"] = layer_norm(stream[1], norm)
    if variant.config.decoder:
        found["decoder_input"] = channels_first(taken("decoder/linear_0"), 4)
        found["masked_patches"] = taken("decoder/linear_0")[:, 48:]
        after = ["linear_1", "linear_2", "linear_3", "to_logit"]
        for i, name in enumerate(after):
            stage = taken(f"decoder/{name}")
            found[f"decoder_stage_{i}"] = channels_first(stage, 8 << i)
        found["decoder_stage_4"] = channels_first(given("decoder/to_logit"), 64)
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_every_intermediate_and_output_matches_the_published_model(
    name, variant, tiny_inputs, assert_close
):
    published = variant(name)
    image, tokens, mask = tiny_inputs
    output, seen = observe(published.model, published.params, image, tokens)
    found = intermediates(published, seen, mask)
    compared = 0
    for key, theirs in published.numbers.items():
        if key.startswith("mid/"):
            assert_close(found[key.removeprefix("mid/")], theirs, TOLERANCE, key)
            compared += 1
    assert compared >= 18
    pixels = published.numbers.get(
        # This model enlarges them itself, the published one in the loss.
        "out/pixel_logits_input_size",
        published.numbers["out/pixel_logits"],
    )
    assert_close(output.pixel_logits, pixels, TOLERANCE, "pixel logits")
    patches = published.numbers["out/patch_logits"]
    assert_close(output.patch_logits, patches, TOLERANCE, "patch logits")


@pytest.mark.parametrize("name", VARIANTS[:2])
def test_double_precision_matches_the_published_model(
    name, variant, tiny_inputs, assert_close
):
    published = variant(name)
    image, tokens, _ = tiny_inputs
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), published.params)
        output = run(published.model, double, image.astype(jnp.float64), tokens)
        assert output.patch_logits.dtype == np.float64
        output = jax.device_get(output)
    for part in ("pixel_logits", "patch_logits"):
        # The position and interpolation tables are float32.
        theirs = published.numbers[f"out64/{part}"]
        assert_close(getattr(output, part), theirs, 2e-6, part)


@pytest.mark.parametrize("name", VARIANTS[3:])
def test_padding_can_enter_the_fusion_unmasked(
    name, variant, tiny_inputs, assert_close
):
    published = variant(name)
    config = published.config.copy_and_resolve_references()
    config.fusion.zero_padding = False
    image, tokens, _ = tiny_inputs
    output = run(build_model(config, 50), published.params, image, tokens)
    for part in ("pixel_logits", "patch_logits"):
        theirs = published.numbers[f"out_nopadmask/{part}"]
        assert_close(getattr(output, part), theirs, TOLERANCE, part)
    zeroed = published.numbers["out/patch_logits"]
    assert np.abs(output.patch_logits - zeroed).max() > 0.1


@pytest.mark.parametrize("case", ["bigger", "smaller", "same_count"])
def test_images_of_other_sizes_are_segmented_as_by_the_published_model(
    case, variant, golden, assert_close
):
    published, numbers = variant("released_tiny"), golden("released_tiny_resize")
    image = jnp.asarray(numbers[f"{case}/in/image"].transpose(0, 2, 3, 1))
    tokens = jnp.asarray(numbers[f"{case}/in/tokens"], jnp.int32)[:, None]
    output, seen = observe(published.model, published.params, image, tokens)
    features = seen["vision/norm"][1]
    theirs = numbers[f"{case}/mid/visual_features"]
    assert_close(features, theirs, TOLERANCE, "features")
    for part in ("pixel_logits", "patch_logits"):
        theirs = numbers[f"{case}/out/{part}"]
        assert_close(getattr(output, part), theirs, TOLERANCE, part)


@pytest.mark.parametrize("grid", [(6, 5), (3, 2), (8, 8)])
def test_position_tables_are_resized_as_by_the_published_model(
    grid, golden, assert_close
):
    numbers = golden("released_tiny_resize")
    table = jnp.asarray(numbers["runtime_bilinear/in/pos_embed_4x4"])
    resized = np.concatenate(
        [table[:, :1], resize_grid(table[:, 1:], (4, 4), grid)], axis=1
    )
    theirs = numbers[f"runtime_bilinear/out/pos_embed_{grid[0]}x{grid[1]}"]
    assert_close(resized, theirs, 1e-6, "positions")
