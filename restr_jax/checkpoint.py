"""Checkpoints: the only module that knows orbax."""

import os
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

import restr_jax

_policies = ocp.training.preservation_policies
_STATE = "state"
METRIC = "oiou"  # what "best" means: the validation split's cumulative IoU


def read_params(folder: str) -> Any:
    """Reads the parameters alone of one checkpoint of any run.

    Args:
        folder: ``WORKDIR/checkpoints/STEP``; nothing in it changes.

    Returns:
        The tree of parameters, NumPy arrays.

    Raises:
        ValueError: if the folder holds no checkpoint of ours.
    """
    folder = os.path.abspath(folder)
    context = ocp.Context()
    context.pytree.loading.partial_load = True  # not the moments, twice as large
    try:
        with context:
            stored = ocp.checkpointables_metadata(folder).metadata[_STATE]["params"]
            wanted = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), stored
            )
            loaded = ocp.load_checkpointables(folder, {_STATE: {"params": wanted}})
    # Orbax has no metadata, None, of a checkpoint that was cut short.
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} is no checkpoint of ours: {error}") from error
    return loaded[_STATE]["params"]


class Checkpoints:
    """The checkpoints of a workdir: the last few and the best."""

    def __init__(self, workdir: str, keep_latest: int, *, read_only: bool = False):
        """Opens or creates ``workdir/checkpoints``.

        Args:
            workdir: of the run.
            keep_latest: how many stay.
            read_only: leave alone what another process may be writing.
        """
        keep = [
            _policies.LatestN(keep_latest),
            _policies.BestN(
                get_metric_fn=lambda metrics: metrics[METRIC],
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
        ]
        self._checkpointer = ocp.training.Checkpointer(
            os.path.abspath(os.path.join(workdir, "checkpoints")),
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
                f"There is no checkpoint in {self._checkpointer.directory}; train "
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

    def save(self, step: int, state: Any, oiou: float | None) -> None:
        """Saves a state, with its validation score if it has one."""
        self._checkpointer.save_checkpointables(
            step,
            {_STATE: state},
            metrics=None if oiou is None else {METRIC: oiou},
            custom_metadata={"version": restr_jax.__version__},
        )

    def restore(self, step: int, abstract: Any) -> Any:
        """Loads a state into the shapes, dtypes and shardings of an abstract one.

        Raises:
            ValueError: if the checkpoint holds another model's state.
        """
        try:
            loaded = self._checkpointer.load_checkpointables(step, {_STATE: abstract})
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"Checkpoint {step} in {self._checkpointer.directory} does not fit the "
                f"model of this config: {error}"
            ) from error
        return loaded[_STATE]

    def close(self) -> None:
        """Waits for what is being written."""
        self._checkpointer.close()
