"""Compiled Flax calls; op by op, each operation would be compiled separately."""

import functools

import jax


def init(module, *inputs, seed):
    """Draws the variables of a Flax module."""
    return _initialiser(module)(jax.random.key(seed), *inputs)


def apply(module, variables, *inputs, method=None, **options):
    """Applies a Flax module without dropout; each kind of call is traced once."""
    return _applied(module, method, tuple(options.items()))(variables, *inputs)


@functools.cache
def _initialiser(module):
    return jax.jit(functools.partial(module.init, deterministic=True))


@functools.cache
def _applied(module, method, options):
    def run(variables, *inputs):
        return module.apply(
            variables, *inputs, deterministic=True, method=method, **dict(options)
        )

    return jax.jit(run)
