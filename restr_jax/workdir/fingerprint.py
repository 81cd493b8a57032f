"""Checksums of a checkpoint's arrays and metadata."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def of_tree(tree: Any) -> int:
    """Returns a checksum that any single flipped bit of a tree's arrays changes.

    It is a sum modulo 2^32 that weights every 32-bit word by an odd factor of its
    place. It is exact, and independent of the arrays' layout on devices. A flipped bit
    changes it by a power of two times an odd number, which is never zero.

    The host computes the sum, so nothing is compiled and no device waits. If several
    processes share an array, each sums its own part, and all have to call this.

    Args:
        tree: arrays of four-byte numbers.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for _, leaf in leaves:
        for shard in _shards(leaf):
            shard.data.copy_to_host_async()
    total = shared = 0
    is_any_shared = False
    for path, leaf in leaves:
        # Keyed by name: trees of dictionaries and of dataclasses may hold the same
        # arrays.
        factor = zlib.crc32(_name(path).encode()) | 1
        value = factor * sum(_sum(*part) for part in _parts(leaf))
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            shared, is_any_shared = shared + value, True
        else:
            total += value
    if is_any_shared:
        own = np.uint32(shared % 2**32)
        total += sum(map(int, multihost_utils.process_allgather(own)))
    return total % 2**32


def sign(card: dict) -> dict:
    """Adds a checksum to the JSON metadata of a checkpoint."""
    return card | {"crc32": zlib.crc32(json.dumps(card, sort_keys=True).encode())}


def check(card: dict, parts: dict[str, Any]) -> None:
    """Compares metadata and arrays with their checksums.

    Args:
        card: metadata from `sign`, with `of_tree` of each part in "fingerprints".
        parts: trees of arrays by name; may be only some of those in the card.

    Raises:
        ValueError: if a bit differs.
    """
    if card != sign({key: card[key] for key in card if key != "crc32"}):
        raise ValueError("its metadata differ from the saved ones")
    for name, tree in parts.items():
        if of_tree(tree) != card["fingerprints"][name]:
            raise ValueError(f"the values of {name!r} differ from the saved ones")


def _shards(leaf: Any) -> list:
    """Returns this process's shards of an array, one copy of each."""
    if not isinstance(leaf, jax.Array):
        return []
    return [shard for shard in leaf.addressable_shards if shard.replica_id == 0]


def _parts(leaf: Any) -> Iterator[tuple[np.ndarray, tuple[int, ...], list[int]]]:
    """Yields parts of an array, the shape of the whole, and the start of each part."""
    if isinstance(leaf, jax.Array):
        for shard in _shards(leaf):
            starts = [side.start or 0 for side in shard.index]
            yield np.asarray(shard.data), leaf.shape, starts
    else:
        dtype = jax.dtypes.canonicalize_dtype(np.result_type(leaf))
        yield np.asarray(leaf, dtype), np.shape(leaf), [0] * np.ndim(leaf)


def _sum(part: np.ndarray, whole: tuple[int, ...], starts: list[int]) -> int:
    """Sums words, each times (2 * its place in the whole array + 1)."""
    if not part.ndim:
        part, whole, starts = part[None], (1,), [0]
    words = np.ascontiguousarray(part).view(np.uint32).reshape(-1, part.shape[-1])
    # The place of the first word of each row, modulo 2^32 like all numbers here.
    places = np.zeros(1, np.uint32)
    for axis, side in enumerate(part.shape[:-1]):
        along = np.arange(starts[axis], starts[axis] + side, dtype=np.uint32)
        places = (places[:, None] * np.uint32(whole[axis]) + along).reshape(-1)
    places = places * np.uint32(whole[-1]) + np.uint32(starts[-1])
    factors = 2 * np.arange(part.shape[-1], dtype=np.uint32) + np.uint32(1)
    in_row = np.einsum("ij,j->i", words, factors)
    sums = in_row + 2 * places * words.sum(axis=1, dtype=np.uint32)
    return int(sums.sum(dtype=np.uint32))


def _name(path: tuple) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
