"""Numbers by which what a checkpoint holds is known again."""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp


def of_tree(tree: Any) -> int:
    """Returns a number that any single flipped bit of a tree's arrays changes.

    It is a sum modulo 2^32 in which every word of 32 bits has an odd factor of its own
    place: exact, and the same however the arrays lie on devices. A flipped bit changes
    it by a power of two times an odd number, which is never zero.

    Args:
        tree: arrays of four-byte numbers.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    # By name: a tree of dictionaries and one of dataclasses may hold the same arrays.
    named = [(zlib.crc32(_name(path).encode()) | 1, leaf) for path, leaf in leaves]
    factors, arrays = zip(*sorted(named, key=lambda pair: pair[0]), strict=True)
    return int(_sum(arrays, jnp.array(factors, jnp.uint32)))


def sign(card: dict) -> dict:
    """Adds a checksum to what JSON holds of a checkpoint."""
    return card | {"crc32": zlib.crc32(json.dumps(card, sort_keys=True).encode())}


def check(card: dict, parts: dict[str, Any]) -> None:
    """Compares what was read with what was saved.

    Args:
        card: what `sign` returned, with `of_tree` of each part in "fingerprints".
        parts: trees of arrays by name; not all of those in the card have to be there.

    Raises:
        ValueError: if a bit of it is another.
    """
    if card != sign({key: card[key] for key in card if key != "crc32"}):
        raise ValueError("its metadata are not those that were saved")
    for name, tree in parts.items():
        if of_tree(tree) != card["fingerprints"][name]:
            raise ValueError(f"the values of {name!r} are not those that were saved")


@jax.jit
def _sum(arrays: tuple[jax.Array, ...], factors: jax.Array) -> jax.Array:
    sums = [_sum_of(array) for array in arrays]
    return jnp.sum(jnp.stack(sums) * factors, dtype=jnp.uint32)


def _sum_of(array: jax.Array) -> jax.Array:
    words = jax.lax.bitcast_convert_type(array, jnp.uint32)
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis, side in enumerate(words.shape):
        place = place * side + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)


def _name(path: tuple) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
