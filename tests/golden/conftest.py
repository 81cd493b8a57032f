"""Outputs of the published model, and this model with the same weights.

tests/testdata/golden/README.md describes the files.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restr_jax.models import ReSTR, build_model
from restr_jax.pretrained import released

# Files keep at most this many values per array.
KEPT = 256


@pytest.fixture(scope="session")
def golden(testdata):
    """Returns a function that reads a file of golden numbers."""

    @functools.cache
    def read(name):
        with np.load(testdata / "golden" / f"{name}.npz") as file:
            return dict(file)

    return read


class Variant(NamedTuple):
    """A published model at small size, converted to this project."""

    config: Any
    model: ReSTR
    params: Any
    arrays: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]


def _weights(golden, name):
    """Returns the whole state dict of a variant."""
    base = {
        key.removeprefix("param/"): array
        for key, array in golden("released_tiny").items()
        if key.startswith("param/")
    }
    # It is unused, so the file does not contain it.
    base["encoder_v.head.weight"] = np.zeros((1000, 48), np.float32)
    own = {
        key.removeprefix("param/"): array
        for key, array in golden(name).items()
        if key.startswith("param/")
    }
    if own:
        return {k: a for k, a in base.items() if k.startswith("encoder_")} | own
    if name == "released_tiny_nodecoder":
        return {k: a for k, a in base.items() if ".decoder." not in k}
    # The visual-language encoder's two blocks become one block of each encoder.
    once = {k: a for k, a in base.items() if ".blocks_ls." not in k}
    return {k.replace("blocks_vl.1", "blocks_ls.0"): a for k, a in once.items()}


@pytest.fixture(scope="session")
def variant(golden):
    """Returns a function that loads a published model by its file name."""

    @functools.cache
    def load(name):
        arrays = _weights(golden, name)
        config, params = released.load(
            arrays, vision_heads=3, language_heads=3, fusion_heads=3
        )
        # The golden numbers exclude stochastic depth.
        config.vision.drop_path_rate = config.fusion.drop_path_rate = 0.0
        params = jax.tree.map(jnp.asarray, params)
        return Variant(config, build_model(config, 50), params, arrays, golden(name))

    return load


@pytest.fixture(scope="session")
def tiny_inputs(golden):
    """Returns image [2, 64, 64, 3], tokens [2, 1, 20] and mask [2, 1, 64, 64]."""
    numbers = golden("released_tiny")
    image = jnp.asarray(numbers["in/image"].transpose(0, 2, 3, 1))
    tokens = jnp.asarray(numbers["in/tokens"], jnp.int32)[:, None]
    return image, tokens, jnp.asarray(numbers["in/label"])


@pytest.fixture(scope="session")
def assert_close():
    """Returns a function that compares arrays, relative to the largest golden value.

    `ours` has their order of values; axes of length 1 may differ.
    """

    def compare(ours, theirs, tolerance, what, *, absolute=False):
        ours, theirs = np.ravel(ours), np.ravel(theirs)
        if ours.size > KEPT and theirs.size < ours.size:
            step = -(-ours.size // KEPT)
            while math.gcd(step, ours.size) > 1:
                step += 1
            ours = ours[::step]
        assert ours.size == theirs.size, what
        error = np.abs(ours - theirs).max()
        scale = 1.0 if absolute else np.abs(theirs).max()
        assert error <= tolerance * scale, (
            f"{what} is off by {error / scale:.2e}, more than {tolerance:.0e}"
        )

    return compare
