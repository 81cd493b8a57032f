"""Programs of a configuration, lowered for devices that need not be there.

Shapes stand for all inputs. So a program can be checked for a GPU or TPU on any
machine, and compiled to learn whether it fits.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from restr_jax import precision, segmenter, train_state
from restr_jax.evaluation import evaluator
from restr_jax.models import build_model
from restr_jax.optimizer import make_optimizer
from restr_jax.parallel import Parallel
from restr_jax.train_step import make_train_step

# The last two are those of prediction: an image, and an expression in that image.
PROGRAMS = ("training", "scoring", "encoding", "segmenting")


def lower(
    program: str,
    config,
    vocab_size: int,
    devices: list,
    *,
    images: int,
    expressions: int,
) -> jax.stages.Lowered:
    """Lowers one of `PROGRAMS` for a list of devices.

    Args:
        program: its name.
        config: a configuration whose dtype is not "auto".
        vocab_size: V.
        devices: to lower for; prediction takes the first.
        images: B, over all devices.
        expressions: K, of each image.

    Raises:
        ValueError: if there is no such program, or a kernel does not take its shapes.
    """
    if program not in PROGRAMS:
        raise ValueError(f"Unknown program {program!r}; it is one of {PROGRAMS}.")
    if program == "training":
        parallel = Parallel(config.parallel, config.fsdp, devices)
        return _training(config, vocab_size, parallel, images, expressions)
    model = build_model(config.model, vocab_size)
    params = jax.eval_shape(
        lambda: train_state.init_params(model, config.data.max_words, seed=0)
    )
    dtype = precision.compute_dtype(config.dtype)
    size, length = tuple(config.model.image_size), config.data.max_words
    image = jax.ShapeDtypeStruct((images, *size, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((images, expressions, length), jnp.int32)
    if program == "scoring":
        parallel = Parallel(config.parallel, config.fsdp, devices)
        valid = jax.ShapeDtypeStruct(tokens.shape[:2], bool)
        predict = functools.partial(evaluator.predict, model, dtype)
        batch = {"image": image, "tokens": tokens, "valid": valid}
        return parallel.predict_step(predict).lower(params, batch)
    params, image = jax.eval_shape(lambda x: precision.cast(x, dtype), (params, image))
    if program == "encoding":
        return _lower_on(devices[0], segmenter.encode, model, params, image)
    visual = jax.eval_shape(functools.partial(segmenter.encode, model), params, image)
    return _lower_on(devices[0], segmenter.segment, model, params, visual, tokens)


def _lower_on(device, function, model, *arguments: Any) -> jax.stages.Lowered:
    on = SingleDeviceSharding(device)
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on), arguments
    )
    return jax.jit(functools.partial(function, model)).lower(*arguments)


def _training(
    config, vocab_size: int, parallel: Parallel, images: int, expressions: int
) -> jax.stages.Lowered:
    model = build_model(config.model, vocab_size)
    optimizer = make_optimizer(config.optimizer)
    length, size = config.data.max_words, tuple(config.model.image_size)
    state = parallel.describe(
        jax.eval_shape(
            lambda: train_state.create(
                train_state.init_params(model, length, seed=0), optimizer
            )
        )
    )
    array = jax.ShapeDtypeStruct
    batch = {
        "image": array((images, *size, 3), jnp.uint8),
        "box": array((images, 4), jnp.int32),
        "row": array((images,), jnp.int32),
        "tokens": array((images, expressions, length), jnp.int32),
        "valid": array((images, expressions), bool),
        "mask": array((images, expressions, *size), bool),
    }
    step = parallel.train_step(make_train_step(model, optimizer, config), state)
    return step.lower(state, parallel.describe_batch(batch))
