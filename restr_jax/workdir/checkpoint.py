"""Checkpoints: the only module that uses Orbax."""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from restr_jax.files import first_line
from restr_jax.training.train_state import Progress, TrainState
from restr_jax.version import __version__
from restr_jax.workdir import choice, fingerprint
from restr_jax.workdir.checkpoint_errors import mute_echoes, not_written

logger = logging.getLogger(__name__)

_policies = ocp.training.preservation_policies
_STATE, _AVERAGE = "state", "average"
METRIC = "oiou"  # defines "best": the validation split's cumulative IoU
_NO_PROGRESS = Progress()
_ASIDE = "damaged"  # folder of a workdir for unreadable checkpoints
_LEAST_SLICED = 2**20  # bytes


class DamagedCheckpointError(ValueError):
    """A checkpoint is damaged, or was not written by restr_jax."""


class Restored(NamedTuple):
    """The starting point of a resumed run.

    Attributes:
        state: the arrays.
        progress: the metrics that the run had written by then.
        scored: whether the validation split's score was saved with the state.
    """

    state: TrainState
    progress: Progress
    scored: bool


def read_params(folder: str) -> Any:
    """Reads only the parameters from one checkpoint of any run.

    If the run averages its parameters, returns the average.

    Args:
        folder: ``WORKDIR/checkpoints/STEP``; it is not modified.

    Returns:
        The tree of parameters, NumPy arrays.

    Raises:
        DamagedCheckpointError: if the folder holds no intact restr_jax checkpoint.
    """
    folder = os.path.abspath(folder)
    context = ocp.Context()
    context.pytree.loading.partial_load = True  # skips the moments, twice as large
    try:
        with context:
            metadata = ocp.checkpointables_metadata(folder)
            name = _AVERAGE if metadata.metadata[_STATE].get(_AVERAGE) else "params"
            wanted = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape),
                metadata.metadata[_STATE][name],
            )
            mute_echoes()
            loaded = ocp.load_checkpointables(folder, {_STATE: {name: wanted}})
            params = loaded[_STATE][name]
            fingerprint.check(metadata.custom_metadata, {name: params})
    # Orbax and its dependencies raise many error types on missing or changed bytes.
    except Exception as error:
        raise DamagedCheckpointError(
            f"{folder} is not a restr_jax checkpoint, or is damaged "
            f"({first_line(error)}). Choose another checkpoint."
        ) from error
    return params


def _parts(state: TrainState) -> dict[str, Any]:
    """Returns the parts of a state, each with a checksum of its own."""
    rest = _tree(state)
    parts = {name: rest.pop(name) for name in ("params", _AVERAGE) if name in rest}
    return parts | {"rest": rest}


def _tree(state: TrainState) -> dict[str, Any]:
    """Returns the fields to store; an absent average is omitted."""
    names = (field.name for field in dataclasses.fields(state))
    tree = {name: getattr(state, name) for name in names}
    return {name: x for name, x in tree.items() if x is not None}


class Checkpoints:
    """The checkpoints of a workdir: the latest few and the best."""

    def __init__(self, workdir: str, keep_latest: int, *, read_only: bool = False):
        """Opens or creates ``workdir/checkpoints``.

        Args:
            workdir: the workdir of the run.
            keep_latest: the number of latest checkpoints to keep.
            read_only: modify nothing, since another process may be writing.

        Raises:
            DamagedCheckpointError: if a score is unreadable and `read_only` is set.
        """
        self._folder = pathlib.Path(workdir).absolute() / "checkpoints"
        self._failed, self._writing = False, None
        mute_echoes()
        # Orbax reads all scores when it opens the folder, and fails on a damaged one.
        for path in self._unreadable_scores():
            step = path.parent.parent.name
            said = f"The score of checkpoint {step} in {self._folder} is damaged"
            if read_only:
                raise DamagedCheckpointError(
                    f"{said}. Remove that checkpoint, or resume training, which moves "
                    f"it to the folder {_ASIDE}."
                )
            logger.warning("%s; moving it to the folder %s", said, _ASIDE)
            self._move_aside(step)
        keep = [
            _policies.LatestN(keep_latest),
            _policies.BestN(
                get_metric_fn=lambda metrics: metrics[METRIC],
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
        ]
        context = ocp.Context()
        # Every device writes a slice of a large array. A small one costs more to cut.
        context.array.saving.min_slice_bytes_for_replica_parallel = _LEAST_SLICED
        self._checkpointer = ocp.training.Checkpointer(
            str(self._folder),
            context=context,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(
                1
            ),
            preservation_policy=_policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=not read_only,
        )
        # Orbax reports each saved step to JAX as the current one, late and from its own
        # thread. JAX would then wait for SIGTERM at a step that has passed.
        self._checkpointer._manager.reached_preemption = lambda step: False

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in ascending order."""
        self.wait()
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def best_step(self) -> int | None:
        """Returns the step with the best validation score, or None without scores."""
        self.wait()
        scored = [c for c in self._checkpointer.checkpoints if c.metrics]
        if not scored:
            return None
        return max(scored, key=lambda c: (c.metrics[METRIC], c.step)).step

    def select(self, which: str) -> list[int]:
        """Returns the steps selected by ``latest``, ``best``, ``all`` or a list.

        Raises:
            FileNotFoundError: if a named checkpoint does not exist.
        """
        return choice.choose(which, self.steps(), self.best_step(), self._folder)

    def save(
        self,
        step: int,
        state: TrainState,
        oiou: float | None = None,
        progress: Progress = _NO_PROGRESS,
    ) -> None:
        """Copies a state off the device and writes it while training continues.

        The next `save`, `wait` or `close` waits for the write. A checkpoint of the same
        step, which had no score yet, is replaced.

        Args:
            step: the step of the state.
            state: the state to save; its memory may be reused afterwards.
            oiou: the state's score on the validation split, if available.
            progress: the progress of the run.

        Raises:
            OSError: if this checkpoint or the one before it cannot be written;
                checkpoints already on the disk stay intact.
            RuntimeError: if the cause is not the disk.
        """
        self.wait()
        parts = _parts(state).items()
        card = {
            "version": __version__,
            "fingerprints": {name: fingerprint.of_tree(tree) for name, tree in parts},
            METRIC: oiou,
            "progress": {"lines": progress.lines, "window": list(progress.window)},
        }
        with self._explained(step):
            self._checkpointer.save_checkpointables_async(
                step,
                {_STATE: _tree(state)},
                overwrite=True,
                metrics=None if oiou is None else {METRIC: oiou},
                custom_metadata=fingerprint.sign(card),
            )
        self._writing = step

    def wait(self) -> None:
        """Waits for the checkpoint that is being written.

        Raises:
            OSError: see `save`.
            RuntimeError: see `save`.
        """
        if self._writing is not None:
            step, self._writing = self._writing, None
            with self._explained(step):
                self._checkpointer.wait()

    def restore(self, step: int, abstract: TrainState) -> Restored:
        """Loads a state into the shapes, dtypes and shardings of an abstract one.

        Raises:
            DamagedCheckpointError: if the checkpoint is unreadable, was changed since
                it was saved, or belongs to another model.
        """
        self.wait()
        try:
            metadata = self._checkpointer.checkpointables_metadata(step)
            loaded = self._checkpointer.load_checkpointables(
                step, {_STATE: _tree(abstract)}
            )
            state, card = TrainState(**loaded[_STATE]), metadata.custom_metadata
            fingerprint.check(card, _parts(state))
            if (metadata.metrics or {}).get(METRIC) != card[METRIC]:
                raise ValueError("its score differs from the saved one")
            said = card["progress"]
            progress = Progress(said["lines"], tuple(said["window"]))
        except Exception as error:
            raise DamagedCheckpointError(
                f"Checkpoint {step} in {self._folder} is damaged, or "
                f"does not fit the model of this config: {first_line(error)}"
            ) from error
        return Restored(state, progress, bool(metadata.metrics))

    def restore_latest(self, abstract: TrainState) -> Restored | None:
        """Loads the newest intact state; returns None if nothing was saved yet.

        Newer, damaged checkpoints are moved to WORKDIR/damaged.

        Raises:
            DamagedCheckpointError: if there are checkpoints, but none can be loaded.
        """
        faults: dict[int, DamagedCheckpointError] = {}
        for step in reversed(self.steps()):
            try:
                restored = self.restore(step, abstract)
            except DamagedCheckpointError as error:
                faults[step] = error
                continue
            for damaged, error in faults.items():
                logger.warning("%s", error)
                self._set_aside(damaged)
            if faults:
                logger.warning("resuming from checkpoint %d, the last intact one", step)
            return restored
        if faults:
            raise faults[max(faults)]
        return None

    def _set_aside(self, step: int) -> None:
        self._move_aside(str(step))
        self._checkpointer.reload()

    def _move_aside(self, step: str) -> None:
        if jax.process_index() == 0:
            aside = self._folder.parent / _ASIDE
            aside.mkdir(exist_ok=True)
            number = len(list(aside.iterdir()))  # The step may have been moved before.
            (self._folder / step).rename(aside / f"{step}-{number}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("set aside")

    def _unreadable_scores(self) -> list[pathlib.Path]:
        paths = []
        for path in sorted(self._folder.glob("*/metrics/metrics")):
            try:
                float(json.loads(path.read_text())[METRIC])
            except (KeyError, TypeError, ValueError):
                paths.append(path)
        return paths

    def close(self) -> None:
        """Waits for the checkpoint that is being written, and closes the folder.

        Raises:
            OSError: see `save`.
            RuntimeError: see `save`.
        """
        try:
            self.wait()
        finally:
            with contextlib.suppress(Exception if self._failed else ()):
                self._checkpointer.close()  # It may raise the same error again.

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        """Raises errors that name the failed checkpoint and the last intact one."""
        try:
            yield
        # A full disk raises errors from many libraries.
        except Exception as error:
            self._failed = True
            raise not_written(error, self._folder, step) from error
