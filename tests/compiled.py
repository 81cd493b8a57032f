"""What tests run as one program: op by op, every operation is compiled by itself."""

import functools

import jax


def init(module, *inputs, seed):
    """Draws the variables of a Flax module."""
    draw = jax.jit(functools.partial(module.init, deterministic=True))
    return draw(jax.random.key(seed), *inputs)
