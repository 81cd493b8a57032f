"""Preemption: SIGTERM, because a machine is reclaimed or its time is over."""

import os
import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

EXIT_CODE = os.EX_TEMPFAIL  # 75: the same command resumes the run


class PreemptedError(Exception):
    """The run received SIGTERM, and everything is saved."""


class Preemption:
    """Records SIGTERM, which would otherwise end the process at once.

    Clouds and batch systems send it some seconds before they take a machine away.
    Several processes may receive it at different times; JAX finds a step that all of
    them have yet to reach.
    """

    def __enter__(self) -> "Preemption":
        """Installs the handler, if in the main thread, where Python allows it."""
        self._told, self._before = False, None
        if threading.current_thread() is threading.main_thread():
            # For several processes, JAX has its own handler.
            if jax.process_count() == 1:
                self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        """Restores the previous handler."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: Any) -> None:
        # Only a mark: the loop saves between two steps, where the state is complete.
        self._told = True

    def reached(self, step: int) -> bool:
        """Returns whether to stop before a step; all processes call it at each step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._told

    def check(self) -> None:
        """Stops work that leaves nothing to save, such as scoring.

        Several processes finish it, since each would stop at a different point.

        Raises:
            PreemptedError: if the run received SIGTERM.
        """
        if self._told:
            raise PreemptedError("Received SIGTERM while scoring.")
