"""Checksums of a checkpoint's arrays and metadata."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def of_tree(tree: Any) -> int:
    """Returns a number that any single flipped bit of a tree's arrays changes.

    It is a sum modulo 2^32 in which every word of 32 bits has an odd factor of its own
    place: exact, and the same however the arrays lie on devices. A flipped bit changes
    it by a power of two times an odd number, which is never zero.

    The host sums, so nothing is compiled and no device waits. Of an array that several
    processes share, each sums its own part, and all have to call this.

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
        # By name: a tree of dictionaries and one of dataclasses may hold the same
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


def _shards(leaf: Any) -> list:
    """Returns this process's shards of an array, without the further copies."""
    if not isinstance(leaf, jax.Array):
        return []
    return [shard for shard in leaf.addressable_shards if shard.replica_id == 0]


def _parts(leaf: Any) -> Iterator[tuple[np.ndarray, tuple[int, ...], list[int]]]:
    """Yields parts of an array, the shape of the whole, and where each part starts."""
    if isinstance(leaf, jax.Array):
        for shard in _shards(leaf):
            starts = [side.start or 0 for side in shard.index]
            yield np.asarray(shard.data), leaf.shape, starts
    else:
        dtype = jax.dtypes.canonicalize_dtype(np.result_type(leaf))
        yield np.asarray(leaf, dtype), np.shape(leaf), [0] * np.ndim(leaf)


def _sum(part: np.ndarray, whole: tuple[int, ...], starts: list[int]) -> int:
    """Sums up words times twice their place in the whole array, plus one."""
    if not part.ndim:
        part, whole, starts = part[None], (1,), [0]
    words = np.ascontiguousarray(part).view(np.uint32).reshape(-1, part.shape[-1])
    # The place of the first word of each row, modulo 2^32 as everything here.
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
