"""Lowers the programs of a configuration for devices that need not be present.

All inputs are abstract shapes. A program can thus be checked for a GPU or TPU on any
machine, and compiled to find out whether it fits.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from restr_jax import precision
from restr_jax.evaluation import evaluator
from restr_jax.inference import segmenter
from restr_jax.models import build_model, parameters
from restr_jax.parallel import Parallel, describe_on
from restr_jax.training import train_state
from restr_jax.training.optimizer import make_optimizer
from restr_jax.training.train_step import make_train_step

# Scoring and prediction encode images, then segment one expression of each.
PROGRAMS = (
    "training",
    "scoring-encode",
    "scoring-segment",
    "prediction-encode",
    "prediction-segment",
)


def lower(
    program: str,
    config,
    vocab_size: int,
    devices: list,
    images: int,
    *,
    platform: str | None = None,
) -> jax.stages.Lowered:
    """Lowers one of `PROGRAMS` for a list of devices.

    Args:
        program: the name of the program.
        config: a configuration whose dtype is not "auto".
        vocab_size: V.
        devices: the target devices; prediction uses the first.
        images: B, over all devices, each with one expression.
        platform: the target platform, by default that of the devices: "cpu", "cuda" or
            "tpu"; not supported with pmap.

    Raises:
        ValueError: if the program is unknown, or a kernel does not support its shapes.
    """
    if program not in PROGRAMS:
        raise ValueError(f"Unknown program {program!r}; it is one of {PROGRAMS}.")
    if program == "training":
        function, inputs = _training(config, vocab_size, devices, images)
    else:
        function, inputs = _inference(program, config, vocab_size, devices, images)
    if platform is None:
        return function.lower(*inputs)
    return function.trace(*inputs).lower(lowering_platforms=(platform,))


def _training(
    config, vocab_size: int, devices: list, images: int
) -> tuple[Callable, tuple]:
    model = build_model(config.model, vocab_size)
    optimizer = make_optimizer(config.optimizer)
    parallel = Parallel(config.parallel, config.fsdp, devices)
    length, size = config.data.max_words, tuple(config.model.image_size)
    state = parallel.describe(
        jax.eval_shape(
            lambda: train_state.create(
                parameters.init(model, length, seed=0), optimizer
            )
        )
    )
    array = jax.ShapeDtypeStruct
    batch = {
        "image": array((images, *size, 3), jnp.uint8),
        "box": array((images, 4), jnp.int32),
        "row": array((images,), jnp.int32),
        "tokens": array((images, 1, length), jnp.int32),
        "valid": array((images, 1), bool),
        "mask": array((images, 1, *size), bool),
    }
    step = parallel.train_step(make_train_step(model, optimizer, config), state)
    return step, (state, parallel.describe_batch(batch))


def _inference(
    program: str, config, vocab_size: int, devices: list, images: int
) -> tuple[Callable, tuple]:
    task, _, part = program.partition("-")
    model = build_model(config.model, vocab_size)
    dtype, length = precision.compute_dtype(config.dtype), config.data.max_words
    params = parameters.abstract(model, length)
    size = tuple(config.model.image_size)
    image = jax.ShapeDtypeStruct((images, *size, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((images, 1, length), jnp.int32)
    if task == "scoring":
        encode, segment = (
            functools.partial(run, model, dtype)
            for run in (evaluator.encode, evaluator.segment)
        )
        batch = {"image": image}
        visual = jax.eval_shape(encode, params, batch)
        if part == "segment":
            batch = {"visual": visual, "tokens": tokens}
        parallel = Parallel(config.parallel, config.fsdp, devices)
        step = parallel.predict_step(encode if part == "encode" else segment)
        return step, (params, batch)
    params, image = jax.eval_shape(lambda x: precision.cast(x, dtype), (params, image))
    encode, segment = (
        functools.partial(run, model) for run in (segmenter.encode, segmenter.segment)
    )
    inputs = (image,)
    if part == "segment":
        inputs = jax.eval_shape(encode, params, image), tokens
    placed = describe_on(devices[0], (params, *inputs))
    return jax.jit(encode if part == "encode" else segment), placed
