"""Checkpoints: the only module that knows orbax."""

import functools
import json
import logging
import os
import pathlib
import sys
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

import restr_jax
from restr_jax import fingerprint
from restr_jax.train_state import Progress, TrainState

logger = logging.getLogger(__name__)

_policies = ocp.training.preservation_policies
_STATE = "state"
METRIC = "oiou"  # what "best" means: the validation split's cumulative IoU
_NO_PROGRESS = Progress()
_ECHOES = "Event loop is closed", "Encountered error while reading array"
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
            wanted = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape),
                metadata.metadata[_STATE]["params"],
            )
            _mute_echoes()
            loaded = ocp.load_checkpointables(folder, {_STATE: {"params": wanted}})
            params = loaded[_STATE]["params"]
            fingerprint.check(metadata.custom_metadata, {"params": params})
    # Orbax and what it reads with raise many things where bytes are missing or others.
    except Exception as error:
        raise DamagedCheckpointError(
            f"{folder} is no checkpoint of ours, or damaged: {_first_line(error)}"
        ) from error
    return params


def _parts(state: TrainState) -> dict[str, Any]:
    return {
        "params": state.params,
        "rest": {"step": state.step, "opt_state": state.opt_state},
    }


@functools.cache
def _mute_echoes() -> None:
    """Keeps hundreds of traces away: one for each array that cannot be moved.

    The first of these errors is raised, and says enough. The others reach Orbax's log,
    tasks that it has forgotten, and event loops that it has closed.
    """

    def is_no_error_of_orbax(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    logging.getLogger("absl").addFilter(is_no_error_of_orbax)
    tasks = logging.getLogger("asyncio")
    tasks.addFilter(lambda record: "never retrieved" not in record.getMessage())
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def print_others(raised):
        if not str(raised.exc_value).startswith(_ECHOES):
            before(raised)

    sys.unraisablehook = print_others


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:400] or type(error).__name__


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
        self._failed = False
        _mute_echoes()
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

    def steps(self) -> list[int]:
        """Lists the steps there are checkpoints of, in order."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def best_step(self) -> int | None:
        """Returns the step that scored best on the validation split, if any did."""
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
        """Saves a state, with its validation score if it has one.

        A checkpoint of the same step is replaced: one that had no score yet.

        Raises:
            OSError: if it cannot be written; those before it stay as they are.
        """
        parts = _parts(state).items()
        card = {
            "version": restr_jax.__version__,
            "fingerprints": {name: fingerprint.of_tree(tree) for name, tree in parts},
            METRIC: oiou,
            "progress": {"lines": progress.lines, "window": list(progress.window)},
        }
        try:
            self._checkpointer.save_checkpointables(
                step,
                {_STATE: state},
                overwrite=True,
                metrics=None if oiou is None else {METRIC: oiou},
                custom_metadata=fingerprint.sign(card),
            )
        # From a full disk come errors of many libraries.
        except Exception as error:
            self._failed = True
            last = max((s for s in self.steps() if s < step), default=None)
            raise OSError(
                f"Checkpoint {step} cannot be written to {self._folder}"
                f" ({_first_line(error)}). "
                + ("There is none before it" if last is None else f"{last} is whole")
                + ". Mend that, as by making room on the disk, and start the same "
                "command again: it goes on from the last checkpoint."
            ) from error

    def restore(self, step: int, abstract: TrainState) -> Restored:
        """Loads a state into the shapes, dtypes and shardings of an abstract one.

        Raises:
            DamagedCheckpointError: if it cannot be read, is not what was saved, or is
                another model's.
        """
        try:
            metadata = self._checkpointer.checkpointables_metadata(step)
            loaded = self._checkpointer.load_checkpointables(step, {_STATE: abstract})
            state, card = loaded[_STATE], metadata.custom_metadata
            fingerprint.check(card, _parts(state))
            if (metadata.metrics or {}).get(METRIC) != card[METRIC]:
                raise ValueError("its score is not the one that was saved")
            said = card["progress"]
            progress = Progress(said["lines"], tuple(said["window"]))
        except Exception as error:
            raise DamagedCheckpointError(
                f"Checkpoint {step} in {self._folder} is damaged, or "
                f"does not fit the model of this config: {_first_line(error)}"
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
        """Waits for what is being written."""
        try:
            self._checkpointer.close()
        except Exception:
            if not self._failed:  # Or else it is the error that `save` raised.
                raise
