import jax
import jax.numpy as jnp
import numpy as np
from compiled import apply, init
from small_parts import SMALL

from restr_jax.models import LanguageEncoder


def language(**changes):
    fields = {
        "vocab_size": 9,
        "width": 8,
        "num_layers": 1,
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
