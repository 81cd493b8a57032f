"""The only module that knows how many devices there are.

A step is written once, for a whole batch. Under "jit" the compiler divides it along the
batch; under "pmap" each device runs it on its share and sums over `AXIS`.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "data"
MODES = ("jit", "pmap")


class Parallel:
    """Data parallelism over all local devices.

    Attributes:
        mode: "jit" or "pmap".
        num_devices: devices that share a batch.
    """

    def __init__(self, mode: str):
        """Uses every device of this process, and of no other.

        Raises:
            ValueError: if the mode is unknown.
        """
        if mode not in MODES:
            raise ValueError(f"Unknown config.parallel {mode!r}; it is one of {MODES}.")
        self.mode = mode
        devices = jax.local_devices()
        self.num_devices = len(devices)
        mesh = jax.make_mesh(
            (self.num_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self._replicated = NamedSharding(mesh, P())
        self._sharded = NamedSharding(mesh, P(AXIS))

    def check_batch_size(self, batch_size: int, key: str) -> None:
        """Raises ValueError if a batch does not divide over the devices."""
        if batch_size % self.num_devices:
            raise ValueError(
                f"{key} is {batch_size}, which {self.num_devices} devices cannot share "
                f"equally; set it to a multiple of {self.num_devices}."
            )

    def replicate(self, tree: Any) -> Any:
        """Puts one copy of a tree on every device."""
        return jax.device_put(tree, self._replicated)

    def describe(self, abstract: Any) -> Any:
        """Adds to a tree of shapes that one copy of it is on every device."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._replicated),
            abstract,
        )

    def shard(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Divides a batch over the devices along its first axis."""
        return {
            name: jax.make_array_from_process_local_data(self._sharded, array)
            for name, array in batch.items()
        }

    def gather(self, items: list) -> list:
        """Returns the items of all processes, the same in each.

        Args:
            items: this process's, of what JSON holds.
        """
        if jax.process_count() == 1:
            return items
        content = np.frombuffer(json.dumps(items).encode(), np.uint8)
        lengths = multihost_utils.process_allgather(np.array(content.size))
        padded = np.zeros(lengths.max(), np.uint8)
        padded[: content.size] = content
        rows = multihost_utils.process_allgather(padded)
        parts = [row[:n].tobytes() for row, n in zip(rows, lengths, strict=True)]
        return [item for part in parts for item in json.loads(part)]

    def train_step(self, step: Callable) -> Callable:
        """Compiles ``step(state, batch, axis_name)`` into ``(state, batch)``.

        The state goes in and out as one replicated copy; its memory is reused.
        """
        if self.mode == "jit":
            return jax.jit(
                functools.partial(step, axis_name=None),
                in_shardings=(self._replicated, self._sharded),
                out_shardings=(self._replicated, self._replicated),
                donate_argnums=0,
            )
        mapped = jax.pmap(
            functools.partial(step, axis_name=AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,
        )
        return lambda state, batch: mapped(state, self._split(batch))

    def predict_step(self, predict: Callable) -> Callable:
        """Compiles ``predict(params, batch)``, whose outputs have the batch's axis."""
        if self.mode == "jit":
            return jax.jit(
                predict,
                in_shardings=(self._replicated, self._sharded),
                out_shardings=self._sharded,
            )
        mapped = jax.pmap(
            predict, axis_name=AXIS, in_axes=(None, 0), devices=jax.local_devices()
        )

        def run(params, batch):
            outputs = mapped(params, self._split(batch))
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

        return run

    def _split(self, batch):
        """Gives the batch the leading device axis that pmap maps over."""
        return jax.tree.map(
            lambda x: x.reshape(self.num_devices, -1, *x.shape[1:]), batch
        )
