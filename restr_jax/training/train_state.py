"""The state that training carries from step to step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from restr_jax.models import parameters


@flax.struct.dataclass
class TrainState:
    """The content of a checkpoint; the step gives the position in the data.

    The fields are arrays, or their shapes where JAX only traces.

    Attributes:
        step: updates done so far, an int32 scalar.
        params: the model's parameters.
        opt_state: the optimizer's moments.
        average: an average of the parameters over the steps, as large as they are, or
            None.
    """

    step: Any
    params: Any
    opt_state: Any
    average: Any = None

    @property
    def scored(self) -> Any:
        """The parameters to score and export: the average where there is one."""
        return self.params if self.average is None else self.average


@dataclasses.dataclass(frozen=True)
class Progress:
    """Metrics of a run up to a saved state, so that a resumed run continues them.

    Attributes:
        lines: the number of lines in metrics.jsonl.
        window: the sums of each step since the last line of training metrics.
    """

    lines: int = 0
    window: tuple[dict[str, float], ...] = ()


def with_word_vectors(params: Any, table: Float[np.ndarray, "V E"]) -> Any:
    """Returns the parameters with another word table.

    Raises:
        ValueError: if the shape of the table differs from the model's.
    """
    shape = params["language"]["words"]["embedding"].shape
    if table.shape != shape:
        raise ValueError(
            f"The word table has shape {table.shape}, but the model needs {shape} "
            "(words, config.model.language.width)."
        )
    return parameters.put(params, {parameters.WORDS: table})


def with_frozen(params: Any, is_frozen: Callable[[tuple], bool]) -> Any:
    """Returns the parameters, with gradients stopped for the frozen ones.

    Args:
        params: a tree of dictionaries.
        is_frozen: predicate of a parameter's path, true for frozen ones.
    """
    return jax.tree.map_with_path(
        lambda path, x: jax.lax.stop_gradient(x) if is_frozen(path) else x, params
    )


def create(
    params: Any, optimizer: optax.GradientTransformation, *, averaged: bool = False
) -> TrainState:
    """Returns the state before the first update.

    Args:
        params: the model's parameters.
        optimizer: the optimizer of the parameters.
        averaged: also keep an average of them.
    """
    # A copy, since a step reuses the memory of both.
    average = jax.tree.map(jnp.copy, params) if averaged else None
    step = jnp.zeros((), jnp.int32)
    return TrainState(step, params, optimizer.init(params), average)


def averaged(average: Any, params: Any, step: Any, decay: float) -> Any:
    """Returns the average of the parameters after a step.

    The decay is at most (1 + step) / (10 + step), so that the first weights are soon
    forgotten.

    Args:
        average: before the step.
        params: after the step.
        step: updates done before this one, a scalar.
        decay: weight of the previous average, from 0 to 1.
    """
    # As TensorFlow's ExponentialMovingAverage with num_updates.
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, average, 1.0 - decay)
