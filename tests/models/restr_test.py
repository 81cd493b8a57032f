import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, init

from configs import common, gref
from restr_jax.models import ReSTR, build_model

VOCAB = 11


@pytest.fixture(scope="module")
def small():
    """Returns a model of 32 x 64 pixels with random parameters, and its inputs."""
    config = common.get_config("tiny").model
    config.image_size, config.patch_size = (32, 64), 8
    for part in ("vision", "language", "fusion"):
        config[part].width, config[part].mlp_dim = 16, 32
    config.vision.num_layers, config.fusion.num_layers = 1, 2
    model = build_model(config, VOCAB)
    image = jax.random.normal(jax.random.key(1), (2, 32, 64, 3))
    tokens = jnp.array(
        [
            [[3, 4, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0], [2, 9, 8, 7, 6, 3]],
            [[4, 3, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [7, 0, 0, 0, 0, 0]],
        ]
    )
    variables = init(model, image, tokens, seed=0)
    return model, variables, image, tokens


def fuse(model, *inputs, deterministic):
    return model.fusion(*inputs, deterministic=deterministic)


def decode(model, variables, *inputs):
    return jax.jit(lambda v, *x: model.bind(v).decoder(*x))(variables, *inputs)


def test_every_expression_gets_a_mask_and_a_patch_map(small):
    output = apply(*small)
    assert output.pixel_logits.shape == (2, 3, 32, 64)
    assert output.patch_logits.shape == (2, 3, 4, 8)
    # Different words give different masks.
    assert jnp.abs(output.pixel_logits[:, 0] - output.pixel_logits[:, 1]).max() > 1e-4


def test_padded_words_cannot_change_the_mask(small):
    model, variables, image, tokens = small
    output = apply(model, variables, image, tokens)
    embedding = variables["params"]["language"]["words"]["embedding"]
    changed = jax.tree.map(lambda x: x, variables)
    changed["params"]["language"]["words"]["embedding"] = embedding.at[0].set(1e3)
    poisoned = apply(model, changed, image, tokens)
    np.testing.assert_array_equal(output.pixel_logits, poisoned.pixel_logits)
    longer = jnp.pad(tokens, [(0, 0), (0, 0), (0, 7)])
    padded = apply(model, variables, image, longer)
    # Sums over more terms (the added ones are zero) in another order.
    np.testing.assert_allclose(
        padded.pixel_logits, output.pixel_logits, rtol=0, atol=1e-5
    )


def test_expressions_and_images_do_not_influence_each_other(small):
    model, variables, image, tokens = small
    together = apply(model, variables, image, tokens).pixel_logits
    for b in range(2):
        for k in range(3):
            alone = apply(
                model, variables, image[b : b + 1], tokens[b : b + 1, k : k + 1]
            )
            # Other shapes compile to other summation orders.
            np.testing.assert_allclose(
                alone.pixel_logits[0, 0], together[b, k], rtol=0, atol=1e-5
            )


def test_the_parts_in_sequence_equal_the_model(small):
    model, variables, image, tokens = small
    visual = apply(model, variables, image, method=ReSTR.encode_image)
    assert visual.shape == (2, 32, 16)  # once per image: no axis of expressions
    words, mask = apply(model, variables, tokens, method=ReSTR.encode_text)
    parts = apply(model, variables, visual, words, mask, method=ReSTR.segment)
    whole = apply(model, variables, image, tokens)
    for one, other in zip(parts, whole, strict=True):
        # Compiled as three programs and as one.
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_the_patch_map_gates_the_input_of_the_decoder(small):
    model, variables, image, tokens = small
    visual = apply(model, variables, image, method=ReSTR.encode_image)
    words, mask = apply(model, variables, tokens, method=ReSTR.encode_text)
    fused = apply(model, variables, visual, words, mask, method=fuse)
    # Eq. 9 and Eq. 10, written out for one expression.
    z, e = np.asarray(fused.patches[1, 2]), np.asarray(fused.classifier[1, 2])
    probability = 1 / (1 + np.exp(-(z @ e) / np.sqrt(16)))
    masked = (z * probability[:, None]).reshape(4, 8, 16)
    seen = fused.projected[1].reshape(4, 8, 16)
    decoded = decode(model, variables, seen, masked)
    output = apply(model, variables, image, tokens)
    np.testing.assert_allclose(
        output.patch_logits[1, 2].ravel(), z @ e / 4, rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(output.pixel_logits[1, 2], decoded, rtol=0, atol=1e-5)


def test_each_reading_of_the_patch_map_has_its_own_field(small):
    model, variables, image, tokens = small
    fields = {"scale_scores": False, "sigmoid_gate": False, "decode_projected": False}
    other = model.clone(**fields)
    visual = apply(model, variables, image, method=ReSTR.encode_image)
    words, mask = apply(model, variables, tokens, method=ReSTR.encode_text)
    fused = apply(model, variables, visual, words, mask, method=fuse)
    z, e = np.asarray(fused.patches[1, 2]), np.asarray(fused.classifier[1, 2])
    masked = (z * (z @ e)[:, None]).reshape(4, 8, 16)
    decoded = decode(model, variables, visual[1].reshape(4, 8, 16), masked)
    output = apply(other, variables, image, tokens)
    np.testing.assert_allclose(
        output.patch_logits[1, 2].ravel(), z @ e, rtol=0, atol=2e-5
    )
    np.testing.assert_allclose(output.pixel_logits[1, 2], decoded, rtol=0, atol=2e-4)
    # Each field alone changes the mask.
    default = apply(model, variables, image, tokens).pixel_logits
    for name, value in fields.items():
        changed = apply(model.clone(**{name: value}), variables, image, tokens)
        assert jnp.abs(changed.pixel_logits - default).max() > 1e-3, name


def test_images_of_another_size_are_segmented_at_their_own_size(small):
    model, variables, _, tokens = small
    image = jax.random.normal(jax.random.key(2), (2, 48, 40, 3))
    output = apply(model, variables, image, tokens)
    assert output.pixel_logits.shape == (2, 3, 48, 40)
    assert output.patch_logits.shape == (2, 3, 6, 5)
    visual = apply(model, variables, image, method=ReSTR.encode_image)
    words, mask = apply(model, variables, tokens, method=ReSTR.encode_text)
    given = variables, visual, words, mask
    parts = apply(model, *given, image_size=(48, 40), method=ReSTR.segment)
    np.testing.assert_allclose(
        parts.pixel_logits, output.pixel_logits, rtol=0, atol=1e-5
    )


def test_without_the_decoder_the_enlarged_patch_map_is_the_mask(small):
    model, variables, image, tokens = small
    config = common.get_config("tiny").model
    config.image_size, config.decoder = (32, 64), False
    bare = build_model(config, VOCAB)
    variables = init(bare, image, tokens, seed=0)
    assert set(variables["params"]) == {"vision", "language", "fusion"}
    output = apply(bare, variables, image, tokens)
    assert output.pixel_logits.shape == (2, 3, 32, 64)
    corners = output.pixel_logits[..., ::31, ::63]
    # Corners are aligned, so their values are unchanged.
    np.testing.assert_allclose(
        corners, output.patch_logits[..., ::3, ::7], rtol=0, atol=1e-5
    )


def test_every_parameter_gets_a_gradient(small):
    model, variables, image, tokens = small

    def loss(params):
        output = model.apply({"params": params}, image, tokens, deterministic=True)
        return (output.pixel_logits**2).sum() + (output.patch_logits**3).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    used = sorted(set(np.unique(tokens)) - {0})
    words = gradient["language"]["words"].pop("embedding")
    rows = jnp.flatnonzero(jnp.abs(words).sum(-1))
    assert rows.tolist() == used
    idle = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(gradient)
        if not jnp.abs(g).max() > 0
    ]
    assert idle == []


def test_the_full_model_has_the_expected_number_of_parameters():
    config = gref.get_config().model
    model = build_model(config, vocab_size=12_112)
    image, tokens = jnp.zeros((1, 480, 480, 3)), jnp.ones((1, 1, 20), jnp.int32)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), image, tokens, deterministic=True)
    )["params"]
    counts = {
        part: sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
        for part, tree in shapes.items()
    }

    def layer(width, mlp):
        return 4 * width**2 + 4 * width + 2 * width * mlp + mlp + width + 4 * width

    d, e = 768, 300
    norm = 2 * d
    patches = 16 * 16 * 3 * d + d + 900 * d
    assert counts == {
        "vision": patches + 12 * layer(d, 3072) + norm,
        "language": 12_112 * e + 6 * layer(e, 3072) + 2 * e,
        # Two linears, the seed, two layers and a norm in each encoder.
        "fusion": d * d + d + e * d + d + d + 4 * layer(d, 3072) + 2 * norm,
        "decoder": 2 * d * d + d * d // 2 + d * d // 8 + d * d // 32 + d // 8,
    }
    # Written out, so that a change of a size is noticed.
    assert counts["vision"] == 86_337_792
    assert sum(counts.values()) == 133_969_728
