"""What training carries from step to step."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from restr_jax.models import ReSTR


@flax.struct.dataclass
class TrainState:
    """Everything a checkpoint needs; the position in the data is the step.

    The fields are arrays, or their shapes where JAX only traces.

    Attributes:
        step: updates done so far, an int32 scalar.
        params: the model's parameters.
        opt_state: the optimizer's moments.
    """

    step: Any
    params: Any
    opt_state: Any


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run has said when a state is saved, so that it goes on from there.

    Attributes:
        lines: of metrics.jsonl.
        window: the sums of each step since its last line of training.
    """

    lines: int = 0
    window: tuple[dict[str, float], ...] = ()


def init_params(model: ReSTR, max_words: int, seed: int) -> Any:
    """Draws parameters; the padding row of the word table is zero."""
    image = jnp.zeros((1, *model.vision.image_size, 3))
    tokens = jnp.ones((1, 1, max_words), jnp.int32)

    def init(key):
        params = model.init(key, image, tokens, deterministic=True)["params"]
        words = params["language"]["words"]
        words["embedding"] = words["embedding"].at[0].set(0.0)
        return params

    return jax.jit(init)(jax.random.key(seed))


def with_word_vectors(params: Any, table: Float[np.ndarray, "V E"]) -> Any:
    """Returns the parameters with another word table.

    Raises:
        ValueError: if the table has not the shape of the model's.
    """
    shape = params["language"]["words"]["embedding"].shape
    if table.shape != shape:
        raise ValueError(
            f"The word table has shape {table.shape}, the model's {shape} (words, "
            "config.model.language.width)."
        )
    language = dict(params["language"], words={"embedding": jnp.asarray(table)})
    return dict(params, language=language)


def with_frozen_words(params: Any) -> Any:
    """Returns the parameters with a word table that no gradient reaches."""
    language = params["language"]
    language = dict(language, words=jax.lax.stop_gradient(language["words"]))
    return dict(params, language=language)


def create(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first update."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
