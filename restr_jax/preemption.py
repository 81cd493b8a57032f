"""Being told to stop: the machine is wanted for something else, or its time is over."""

import os
import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

EXIT_CODE = os.EX_TEMPFAIL  # 75: of a run that goes on when it is started again


class PreemptedError(Exception):
    """The run was told to stop, and everything is saved."""


class Preemption:
    """Notes SIGTERM, which otherwise would end the process at once.

    Clouds and batch systems send it some seconds before they take a machine away. Of
    several processes, of which each may be told at another time, JAX finds a step that
    all of them have yet to reach.
    """

    def __enter__(self) -> "Preemption":
        """Begins to listen, where Python allows it: in the main thread."""
        self._told, self._before = False, None
        if threading.current_thread() is threading.main_thread():
            # Where processes work as one, JAX has a handler of its own.
            if jax.process_count() == 1:
                self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        """Leaves the signal as it was."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: Any) -> None:
        self._told = True

    def reached(self, step: int) -> bool:
        """Tells whether to stop before a step; all processes ask for every step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._told

    def check(self) -> None:
        """Stops what leaves nothing to save, such as scoring.

        Several processes finish it, since each would stop at another place.

        Raises:
            PreemptedError: if the run was told to stop.
        """
        if self._told:
            raise PreemptedError("Told to stop (SIGTERM) while scoring.")
