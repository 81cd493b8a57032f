"""Traces of a few training steps, for TensorBoard and Perfetto (docs/profiling.md)."""

import logging
import pathlib
from typing import Any

import jax

logger = logging.getLogger(__name__)


class Profiler:
    """Traces the steps that ``config.profile`` selects."""

    def __init__(self, config, folder: pathlib.Path, first_step: int):
        """Selects the steps; tracing starts in `before`.

        Args:
            config: the ``profile`` part of a configuration.
            folder: the output folder.
            first_step: the first step of this run.
        """
        self._folder = folder
        self._first = first_step + config.after_steps if config.num_steps else None
        self._last = first_step + config.after_steps + config.num_steps - 1
        self._running, self._step_mark = False, None

    def before(self, step: int) -> None:
        """Starts the trace at its first step, and marks each step in it."""
        if step == self._first:
            options = jax.profiler.ProfileOptions()
            # A trace holds a limited number of events, and every call of a Python
            # function would be one.
            options.python_tracer_level = 0
            jax.profiler.start_trace(
                str(self._folder), create_perfetto_trace=True, profiler_options=options
            )
            self._running = True
        if self._running:
            self._step_mark = jax.profiler.StepTraceAnnotation("train", step_num=step)
            self._step_mark.__enter__()

    def after(self, step: int, outputs: Any) -> None:
        """Ends the trace after the last step, once the devices have finished it."""
        if not self._running:
            return
        self._step_mark.__exit__(None, None, None)
        if step == self._last:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        """Writes the trace, if one is running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
            logger.info("wrote the trace of the profiled steps to %s", self._folder)
