"""Sizes and inputs of small parts of the model, for tests."""

import jax
import numpy as np

SMALL = {"num_heads": 2, "mlp_dim": 12, "init_std": 0.3}


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def count(tree):
    return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
