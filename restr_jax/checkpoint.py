"""Checkpoints: the only module that knows orbax."""

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

import restr_jax
from restr_jax import fingerprint
from restr_jax.checkpoint_errors import first_line, mute_echoes, not_written
from restr_jax.train_state import Progress, TrainState

logger = logging.getLogger(__name__)

_policies = ocp.training.preservation_policies
_STATE, _AVERAGE = "state", "average"
METRIC = "oiou"  # what "best" means: the validation split's cumulative IoU
_NO_PROGRESS = Progress()
_ASIDE = "damaged"  # folder of a workdir for checkpoints that cannot be read


class DamagedCheckpointError(ValueError):
    """A checkpoint is no longer what was written, or none of ours."""


class Restored(NamedTuple):
    """What a run goes on from.

    Attributes:
        state: the arrays.
        progress: what had been said by then.
        scored: whether the validation split's score was saved with it.
    """

    state: TrainState
    progress: Progress
    scored: bool


def read_params(folder: str) -> Any:
    """Reads the parameters alone of one checkpoint of any run.

    Of a run that averages them, those are the average.

    Args:
        folder: ``WORKDIR/checkpoints/STEP``; nothing in it changes.

    Returns:
        The tree of parameters, NumPy arrays.

    Raises:
        DamagedCheckpointError: if the folder holds no checkpoint of ours.
    """
    folder = os.path.abspath(folder)
    context = ocp.Context()
    context.pytree.loading.partial_load = True  # not the moments, twice as large
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
    # Orbax and what it reads with raise many things where bytes are missing or others.
    except Exception as error:
        raise DamagedCheckpointError(
            f"{folder} is no checkpoint of ours, or damaged: {first_line(error)}"
        ) from error
    return params


def _parts(state: TrainState) -> dict[str, Any]:
    """Returns the trees whose checksums a checkpoint holds."""
    rest = _tree(state)
    parts = {name: rest.pop(name) for name in ("params", _AVERAGE) if name in rest}
    return parts | {"rest": rest}


def _tree(state: TrainState) -> dict[str, Any]:
    """Returns what is stored: without an average nothing stands for it."""
    names = (field.name for field in dataclasses.fields(state))
    tree = {name: getattr(state, name) for name in names}
    return {name: x for name, x in tree.items() if x is not None}


class Checkpoints:
    """The checkpoints of a workdir: the last few and the best."""

    def __init__(self, workdir: str, keep_latest: int, *, read_only: bool = False):
        """Opens or creates ``workdir/checkpoints``.

        Args:
            workdir: of the run.
            keep_latest: how many stay.
            read_only: leave alone what another process may be writing.

        Raises:
            DamagedCheckpointError: if a score cannot be read, and may not be set aside.
        """
        self._folder = pathlib.Path(workdir).absolute() / "checkpoints"
        self._failed, self._writing = False, None
        mute_echoes()
        # Orbax reads all scores when it opens the folder, and wants them whole.
        for path in self._unreadable_scores():
            step = path.parent.parent.name
            said = f"The score of checkpoint {step} in {self._folder} is damaged"
            if read_only:
                raise DamagedCheckpointError(
                    f"{said}; remove that checkpoint, or go on training, which sets it "
                    "aside."
                )
            logger.warning("%s; it is set aside", said)
            self._move_aside(step)
        keep = [
            _policies.LatestN(keep_latest),
            _policies.BestN(
                get_metric_fn=lambda metrics: metrics[METRIC],
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
        ]
        self._checkpointer = ocp.training.Checkpointer(
            str(self._folder),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(
                1
            ),
            preservation_policy=_policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=not read_only,
        )
        # Orbax reports each saved step to JAX as the one that is reached, late and from
        # a thread of its own; SIGTERM would be awaited at a step that is over.
        self._checkpointer._manager.reached_preemption = lambda step: False

    def steps(self) -> list[int]:
        """Lists the steps there are checkpoints of, in order."""
        self.wait()
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def best_step(self) -> int | None:
        """Returns the step that scored best on the validation split, if any did."""
        self.wait()
        scored = [c for c in self._checkpointer.checkpoints if c.metrics]
        if not scored:
            return None
        return max(scored, key=lambda c: (c.metrics[METRIC], c.step)).step

    def select(self, which: str) -> list[int]:
        """Returns the steps that ``latest``, ``best``, ``all`` or a list names.

        Raises:
            FileNotFoundError: if a named checkpoint does not exist.
        """
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(
                f"There is no checkpoint in {self._folder}; train "
                "first, or give the --workdir of a trained model."
            )
        if which == "all":
            return steps
        if which == "latest":
            return steps[-1:]
        if which == "best":
            best = self.best_step()
            if best is None:
                raise FileNotFoundError(
                    f"No checkpoint of {steps} was scored on a validation split; "
                    "choose latest, all or a step."
                )
            return [best]
        try:
            wanted = [int(step) for step in which.split(",")]
        except ValueError:
            wanted = []
        missing = [step for step in wanted if step not in steps]
        if not wanted or missing:
            raise FileNotFoundError(
                f"Checkpoints {which!r} were asked for; there are {steps}, and "
                "latest, best and all."
            )
        return wanted

    def save(
        self,
        step: int,
        state: TrainState,
        oiou: float | None = None,
        progress: Progress = _NO_PROGRESS,
    ) -> None:
        """Copies a state off the device, and writes it while training continues.

        The next save, `wait` and `close` wait for it first. A checkpoint of the same
        step is replaced: one that had no score yet.

        Args:
            step: of the state.
            state: its memory may be reused afterwards.
            oiou: its score on the validation split, if it has one.
            progress: of the run.

        Raises:
            OSError: if this checkpoint or the one before it cannot be written; the
                checkpoints on the disk stay whole.
            RuntimeError: if something else than the disk is the cause.
        """
        self.wait()
        parts = _parts(state).items()
        card = {
            "version": restr_jax.__version__,
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
            OSError: as `save`.
            RuntimeError: as `save`.
        """
        if self._writing is not None:
            step, self._writing = self._writing, None
            with self._explained(step):
                self._checkpointer.wait()

    def restore(self, step: int, abstract: TrainState) -> Restored:
        """Loads a state into the shapes, dtypes and shardings of an abstract one.

        Raises:
            DamagedCheckpointError: if it cannot be read, is not what was saved, or is
                another model's.
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
                raise ValueError("its score is not the one that was saved")
            said = card["progress"]
            progress = Progress(said["lines"], tuple(said["window"]))
        except Exception as error:
            raise DamagedCheckpointError(
                f"Checkpoint {step} in {self._folder} is damaged, or "
                f"does not fit the model of this config: {first_line(error)}"
            ) from error
        return Restored(state, progress, bool(metadata.metrics))

    def restore_latest(self, abstract: TrainState) -> Restored | None:
        """Loads the newest state that is whole; None if nothing was saved yet.

        Newer ones that are not go to WORKDIR/damaged, out of the way.

        Raises:
            DamagedCheckpointError: if there are checkpoints, and none can be loaded.
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
                logger.warning("going on from checkpoint %d, the last whole one", step)
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
            number = len(list(aside.iterdir()))  # It may not be the first of its step.
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
        """Waits for the checkpoint that is being written.

        Raises:
            OSError: as `save`.
            RuntimeError: as `save`.
        """
        try:
            self.wait()
        finally:
            with contextlib.suppress(Exception if self._failed else ()):
                self._checkpointer.close()  # It may raise once more what was raised.

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        """Raises errors with the checkpoint that failed and the last whole one."""
        try:
            yield
        # From a full disk come errors of many libraries.
        except Exception as error:
            self._failed = True
            raise not_written(error, self._folder, step) from error
