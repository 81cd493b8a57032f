"""Trees of parameters: first values, shapes, counts, and arrays by path.

A path joins the names of modules and parameter, as in "fusion/norm/scale".
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from restr_jax.models.restr import ReSTR

WORDS = "language/words/embedding"


def init(model: ReSTR, max_words: int, seed: int) -> Any:
    """Draws initial parameters; the padding row of the word table is zero."""
    return _draw(model, max_words, jax.random.key(seed))


@functools.partial(jax.jit, static_argnums=(0, 1))  # Traced once for equal models.
def _draw(model: ReSTR, max_words: int, key: jax.Array) -> Any:
    image = jnp.zeros((1, *model.vision.image_size, 3))
    tokens = jnp.ones((1, 1, max_words), jnp.int32)
    params = model.init(key, image, tokens, deterministic=True)["params"]
    words = params["language"]["words"]
    words["embedding"] = words["embedding"].at[0].set(0.0)
    return params


def abstract(model: ReSTR, max_words: int = 1) -> Any:
    """Returns the parameters' shapes and types; nothing is computed."""
    return jax.eval_shape(lambda: init(model, max_words, seed=0))


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a tree by path."""
    return flatten_dict(tree, sep="/")


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tree of leaves by path."""
    return unflatten_dict(arrays, sep="/")


def shapes(tree: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each array in a tree, or in a dict by path."""
    return {path: tuple(x.shape) for path, x in flatten(tree).items()}


def put(tree: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tree with some values replaced, given by path."""
    return unflatten(
        flatten(tree) | {path: jnp.asarray(x) for path, x in arrays.items()}
    )


def count(tree: Mapping[str, Any], keep: Callable[[str], bool] = bool) -> int:
    """Counts the values of all arrays, or of those whose path `keep` accepts."""
    return sum(math.prod(shape) for path, shape in shapes(tree).items() if keep(path))
