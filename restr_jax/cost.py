"""Counts parameters and multiply-adds of a model by part, from the traced program.

    python -m restr_jax.cost --config=configs/gref.py

This takes any configuration, at any size. `python -m benchmarks.paper_cost` compares
the figures of the paper's Tables 3b and 5 with ours.

Only the multiply-adds of matrix products and convolutions count. Operations per value,
such as interpolation, do not.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from absl import app
from jax.extend import core
from ml_collections import config_flags

from restr_jax import command_line
from restr_jax.models import ReSTR, build_model, parameters
from tfds_builders.markdown import table

# Primitives that run a program an unknown number of times, or hide it.
_OPAQUE = ("while", "cond", "pallas_call", "ffi_call")

# "patch scores" is the computation outside the model's modules (Eq. 9).
PARTS = ("vision", "language", "fusion", "patch scores", "decoder")


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product or a convolution of a traced program.

    Attributes:
        path: names of the enclosing modules, outermost first.
        macs: its multiply-adds.
    """

    path: tuple[str, ...]
    macs: int


@dataclasses.dataclass(frozen=True)
class Trace:
    """A traced program.

    Attributes:
        products: its matrix products and convolutions.
        normalised: number of values that pass each LayerNorm, by the norm's path.
    """

    products: list[Product]
    normalised: dict[tuple[str, ...], int]


def trace(function: Callable, *arguments: Any) -> Trace:
    """Traces a function without computing anything.

    Args:
        function: a function of trees of arrays.
        arguments: trees of arrays or of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: if the program has a loop of unknown length, or an opaque kernel.
    """
    normalised: dict[tuple[str, ...], int] = {}

    def note_norms(call, args, kwargs, context):
        if isinstance(context.module, nn.LayerNorm):
            path = context.module.path
            normalised[path] = normalised.get(path, 0) + args[0].size
        return call(*args, **kwargs)

    with nn.intercept_methods(note_norms):
        closed = jax.make_jaxpr(function)(*arguments)
    return Trace(list(_products(closed.jaxpr, (), 1)), normalised)


def _products(
    jaxpr: core.Jaxpr, scopes: tuple[str, ...], times: int
) -> Iterator[Product]:
    """Yields the products of a program and of all programs in it.

    Args:
        jaxpr: the program.
        scopes: the enclosing name scopes.
        times: the number of times it runs.
    """
    for step in jaxpr.eqns:
        name = step.primitive.name
        here = scopes + tuple(str(step.source_info.name_stack).split("/"))
        if platforms := step.params.get("branches_platforms"):
            # One program per kind of device: take the CPU's, or the default one.
            own = next(i for i, p in enumerate(platforms) if p is None or "cpu" in p)
            yield from _products(step.params["branches"][own].jaxpr, here, times)
            continue
        if name in _OPAQUE:
            raise ValueError(
                f"Cannot count the step {name!r} in {'/'.join(here)}: the trace does "
                "not contain its cost."
            )
        if name in ("dot_general", "conv_general_dilated"):
            count = _dot_macs if name == "dot_general" else _convolution_macs
            yield Product(_module_path(here), times * count(step))
        rounds = step.params["length"] if name == "scan" else 1
        for inner in _programs_in(step):
            yield from _products(inner, here, times * rounds)


def _programs_in(step: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in step.params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _dot_macs(step: core.JaxprEqn) -> int:
    (contracted, _), _ = step.params["dimension_numbers"]
    shape = step.invars[0].aval.shape
    return step.outvars[0].aval.size * math.prod(shape[i] for i in contracted)


def _convolution_macs(step: core.JaxprEqn) -> int:
    kernel = step.invars[1].aval
    outputs = kernel.shape[step.params["dimension_numbers"].rhs_spec[0]]
    return step.outvars[0].aval.size * kernel.size // outputs


def _module_path(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Drops the outermost module's class, methods and einsums from scopes."""
    return tuple(s for s in scopes if s and "." not in s and "->" not in s)[1:]


@dataclasses.dataclass(frozen=True)
class TracedModel:
    """A model and its program for one image with one expression.

    Attributes:
        model: the network.
        variables: the shapes of its parameters; the word table has a single row.
        inputs: the shapes of the image and of the expression's words.
        trace: the trace of the whole model.
    """

    model: ReSTR
    variables: Any
    inputs: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]
    trace: Trace


def trace_model(config, max_words: int) -> TracedModel:
    """Builds and traces a model.

    Args:
        config: the ``model`` part of a configuration.
        max_words: L.
    """
    model = build_model(config, vocab_size=1)
    inputs = (
        jax.ShapeDtypeStruct((1, *model.vision.image_size, 3), jnp.float32),
        jax.ShapeDtypeStruct((1, 1, max_words), jnp.int32),
    )
    init = functools.partial(model.init, jax.random.key(0), deterministic=True)
    variables = jax.eval_shape(init, *inputs)
    segment = functools.partial(model.apply, deterministic=True)
    return TracedModel(model, variables, inputs, trace(segment, variables, *inputs))


def cost_by_part(traced: TracedModel) -> dict[str, tuple[int, int]]:
    """Returns (parameters, multiply-adds) of each part.

    The word table is excluded from the parameters: its length depends on the data.
    """
    counts, macs = (dict.fromkeys(PARTS, 0) for _ in range(2))
    for product in traced.trace.products:
        part = product.path[0] if product.path else ""
        macs[part if part in macs else "patch scores"] += product.macs
    for own, tree in traced.variables["params"].items():
        part = own if own in counts else "patch scores"
        counts[part] += parameters.count(tree, lambda path: path != "words/embedding")
    return {part: (counts[part], macs[part]) for part in PARTS}


def describe(config) -> str:
    """Returns a Markdown table of the cost of a configuration's model.

    Args:
        config: a configuration (configs/common.py).
    """
    traced = trace_model(config.model, config.data.max_words)
    costs = cost_by_part(traced)
    height, width = config.model.image_size
    costs["all"] = tuple(map(sum, zip(*costs.values(), strict=True)))
    lines = [
        f"One image of {height} x {width} pixels, {config.data.max_words} words; "
        f"without the word table ({config.model.language.width} parameters a word).",
        "",
    ]
    lines += table(
        ["part", "parameters", "multiply-adds, millions"],
        [[part, f"{n:,}", f"{macs / 1e6:,.2f}"] for part, (n, macs) in costs.items()],
        "lr",
    )
    return "\n".join(lines)


def main() -> None:
    """Prints the table of a configuration."""
    if _CONFIG.value is None:
        raise app.UsageError("Give a --config.")
    print(describe(_CONFIG.value))


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "As in main.py.")
    command_line.run(main)
