"""The only module that knows how many devices and processes there are.

A step is written once, for a whole batch. Under "jit" the compiler divides it along the
batch; under "pmap" each device runs it on its share and sums over `AXIS`. Training
spans the devices of all processes. In scoring each process works independently on its
share of the images, and the results are gathered.
"""

import functools
import json
import logging
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

logger = logging.getLogger(__name__)

AXIS = "data"
FSDP_AXIS = "fsdp"
MODES = ("jit", "pmap")
# Smaller arrays are not worth the communication; every device keeps a full copy.
_LEAST_SHARDED = 2**14


class Parallel:
    """The devices, and the layout of a batch and a state on them.

    Attributes:
        mode: "jit" or "pmap".
        num_devices: devices of all processes, which share a batch in training.
        num_local_devices: devices of this process, which share a batch in scoring.
    """

    def __init__(self, mode: str, fsdp: int = 1, devices: list | None = None):
        """Takes the devices in use.

        Args:
            mode: "jit" or "pmap".
            fsdp: devices that share one copy of parameters and moments.
            devices: the devices to use; all by default.

        Raises:
            ValueError: if the mode is unknown, or does not support `fsdp`.
        """
        if mode not in MODES:
            raise ValueError(f"Unknown config.parallel {mode!r}; it is one of {MODES}.")
        self.mode, self.fsdp = mode, fsdp
        devices = jax.devices() if devices is None else devices
        local = [d for d in devices if d.process_index == jax.process_index()]
        self.num_devices, self.num_local_devices = len(devices), len(local)
        if fsdp < 1 or self.num_devices % fsdp or (mode == "pmap" and fsdp > 1):
            raise ValueError(
                f"config.fsdp is {fsdp} with config.parallel={mode}; it has to divide "
                f"the {self.num_devices} devices, and to be 1 with pmap."
            )
        # One order for the meshes and for pmap, whose own order differs on TPUs.
        self._devices, self._local_devices = _ordered(devices), _ordered(local)
        mesh = _mesh(self._devices, {AXIS: self.num_devices // fsdp, FSDP_AXIS: fsdp})
        self._mesh = mesh
        self._everywhere = NamedSharding(mesh, P())
        self._fed = NamedSharding(mesh, P((AXIS, FSDP_AXIS)))
        local_mesh = _mesh(self._local_devices, {AXIS: len(local)})
        self._replicated = NamedSharding(local_mesh, P())
        self._sharded = NamedSharding(local_mesh, P(AXIS))

    def __str__(self) -> str:
        """Returns number and kind of the devices, and the number of processes."""
        kind, processes = self._devices[0].device_kind, jax.process_count()
        ends = "" if self.num_devices == 1 else "s", "" if processes == 1 else "es"
        return (
            f"{self.num_devices} {kind} device{ends[0]}, {processes} process{ends[1]}"
        )

    def check_batch_size(self, batch_size: int, parts: int) -> None:
        """Raises ValueError if the parts of a batch do not divide over the devices."""
        if parts < 1 or batch_size % (self.num_devices * parts):
            raise ValueError(
                f"config.batch_size is {batch_size}, which {self.num_devices} devices "
                f"cannot share equally in config.accumulate_steps={parts} parts; set "
                f"it to a multiple of {self.num_devices * max(parts, 1)}."
            )

    def wait_for_others(self, name: str) -> None:
        """Blocks until every process has reached this call."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)

    def gather(self, items: list) -> list:
        """Returns the items of all processes, the same in each.

        Args:
            items: this process's items, which JSON can hold.
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

    # Training, on the devices of all processes.

    def place(self, tree: Any) -> Any:
        """Places a state, known to every process, on all devices."""
        return jax.tree.map(
            lambda x: jax.device_put(x, self._sharding(np.shape(x))), tree
        )

    def describe(self, abstract: Any) -> Any:
        """Adds the device layout to an abstract state."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=self._sharding(x.shape)
            ),
            abstract,
        )

    def feed(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Divides a batch over all devices; each process provides its own rows."""
        return _divide(batch, self._fed)

    def describe_batch(self, abstract: Any) -> Any:
        """Adds the device layout of `feed` to an abstract batch."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._fed),
            abstract,
        )

    def train_step(self, step: Callable, abstract: Any) -> Callable:
        """Compiles ``step(state, batch, axis_name)`` into ``(state, sums)``.

        The state's memory is reused for the new one.

        Args:
            step: the function to compile.
            abstract: the state, as `describe` returns it.
        """
        if self.mode == "jit":
            laid = jax.tree.map(lambda x: x.sharding, abstract)
            return jax.jit(
                functools.partial(step, axis_name=None),
                in_shardings=(laid, self._fed),
                out_shardings=(laid, self._everywhere),
                donate_argnums=0,
            )
        mapped = jax.pmap(
            functools.partial(step, axis_name=AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,
            devices=self._devices,
            donate_argnums=0,
        )
        return _Pmapped(mapped, self.num_devices)

    def to_score(self, params: Any) -> Any:
        """Lays training's parameters out for `predict_step`, as `replicate` does."""
        if self.fsdp > 1:
            params = jax.jit(lambda p: p, out_shardings=self._everywhere)(params)
        if jax.process_count() > 1:
            own = jax.tree.map(lambda x: x.addressable_data(0), params)
            params = self.replicate(own)
        return params

    def to_save(self, state: Any) -> Any:
        """Turns a step's state into one that spans all devices, without a copy.

        With several processes, pmap returns arrays that contain only the process's own
        part.
        """
        if self.mode == "jit" or jax.process_count() == 1:
            return state
        return jax.tree.map(
            lambda x: jax.make_array_from_single_device_arrays(
                x.shape, self._everywhere, [s.data for s in x.addressable_shards]
            ),
            state,
        )

    # Scoring, on this process's devices.

    def replicate(self, tree: Any) -> Any:
        """Puts one copy of a tree on each of this process's devices."""
        return jax.device_put(tree, self._replicated)

    def shard(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Divides a batch over this process's devices along its first axis."""
        return _divide(batch, self._sharded)

    def predict_step(self, predict: Callable) -> Callable:
        """Compiles ``predict(params, batch)``, whose outputs have the batch's axis."""
        if self.mode == "jit":
            return jax.jit(
                predict,
                in_shardings=(self._replicated, self._sharded),
                out_shardings=self._sharded,
            )
        mapped = jax.pmap(
            predict, axis_name=AXIS, in_axes=(None, 0), devices=self._local_devices
        )

        run = _Pmapped(mapped, self.num_local_devices)

        def run_whole(params, batch):
            outputs = run(params, batch)
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

        run_whole.lower = run.lower
        return run_whole

    def _sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        """Divides the longest divisible side; the same for all arrays of a shape."""
        sides = [i for i, side in enumerate(shape) if side % self.fsdp == 0]
        if self.fsdp == 1 or math.prod(shape) < _LEAST_SHARDED or not sides:
            return self._everywhere
        longest = max(sides, key=lambda i: shape[i])
        spec = [FSDP_AXIS if i == longest else None for i in range(len(shape))]
        return NamedSharding(self._mesh, P(*spec))


@functools.cache
def warn_of_unused_accelerator(dev: str = "/dev") -> None:
    """Warns, once, if JAX computes on the CPU of a machine with a GPU or TPU.

    ``JAX_PLATFORMS=cpu`` or an empty ``CUDA_VISIBLE_DEVICES`` chooses the CPU.

    Args:
        dev: folder of the device files.
    """
    found = _accelerator(pathlib.Path(dev))
    if not found or jax.default_backend() != "cpu" or jax.config.jax_platforms:
        return
    name, extra = found
    logger.warning(
        "Computing on the CPU: JAX does not use this machine's %s. Install its support "
        'with pip install "jax[%s]==%s" and rerun; if it is installed, JAX\'s own '
        "warning has the cause. JAX_PLATFORMS=cpu chooses the CPU.",
        name,
        extra,
        jax.__version__,
    )


def _accelerator(dev: pathlib.Path) -> tuple[str, str] | None:
    """Returns the kind of a visible accelerator, and the extra of JAX that uses it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    # WSL has one device file for the GPUs of all makers.
    nvidia = (dev / "dxg").exists() and shutil.which("nvidia-smi")
    if not hidden and (nvidia or any(dev.glob("nvidia[0-9]*"))):
        return "NVIDIA GPU", "cuda12"
    if any(dev.glob("accel[0-9]*")) or any(dev.glob("vfio/[0-9]*")):
        return "TPU", "tpu"
    return None


def describe_on(device: jax.Device, abstract: Any) -> Any:
    """Adds the layout of a single device to a tree of shapes."""
    on = SingleDeviceSharding(device)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on), abstract
    )


class _Pmapped:
    """A pmap program that takes whole batches, as a jit program does."""

    def __init__(self, mapped: Callable, parts: int):
        self._mapped, self._parts = mapped, parts

    def __call__(self, fixed: Any, batch: Any) -> Any:
        return self._mapped(fixed, _split(batch, self._parts))

    def lower(self, fixed: Any, batch: Any) -> jax.stages.Lowered:
        """Lowers the program for abstract inputs."""
        split = jax.eval_shape(lambda batch: _split(batch, self._parts), batch)
        return self._mapped.lower(fixed, split)


def _ordered(devices: list) -> list:
    """Orders devices with neighbours adjacent, and those of a process together.

    JAX knows a TPU's topology: the order often differs from that of the device numbers.
    A process holds consecutive rows of a batch, so its devices are consecutive too.
    """
    types = (AxisType.Auto,)
    ring = jax.make_mesh((len(devices),), (AXIS,), axis_types=types, devices=devices)
    return _by_process(ring.devices.flat)


def _by_process(devices: Iterable) -> list:
    return sorted(devices, key=lambda device: device.process_index)


def _mesh(devices: list, sides: dict[str, int]) -> Mesh:
    # JAX rejects flax's word embedding with explicit axes.
    types = (AxisType.Auto,) * len(sides)
    grid = np.array(devices).reshape(tuple(sides.values()))
    return Mesh(grid, tuple(sides), axis_types=types)


def _divide(batch: dict[str, np.ndarray], sharding: NamedSharding):
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }


def _split(batch: Any, parts: int) -> Any:
    """Adds the leading device axis that pmap maps over."""
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
