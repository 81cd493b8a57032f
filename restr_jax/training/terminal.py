"""The terminal of a training run: a progress bar below the log lines."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping

import jax
from tqdm import tqdm

from restr_jax.training.step_metrics import Window
from tfds_builders.inspection.progress import progress_bar

logger = logging.getLogger(__name__)


class Terminal:
    """Shows the steps of a run, with the loss and the last validation score.

    The bar is visible in a terminal and in a notebook. Elsewhere, such as in a file,
    there are only log lines.
    """

    def __init__(
        self, first: int, total: int, written: Mapping[str, float], score: str
    ):
        """Opens the bar.

        Args:
            first: the number of steps so far.
            total: the number of steps of the run.
            written: the last value of each metric, kept up to date by the caller.
            score: the name of the validation score in it.
        """
        self._written, self._score, self._compiled = written, score, False
        shown = {"total": total, "initial": first, "desc": "training", "unit": "step"}
        if jax.process_index():
            shown["disable"] = True
        self._bar = progress_bar(**shown)
        self._opened = contextlib.ExitStack()
        if not self._bar.disable:
            self._opened.enter_context(_logs_above_bars())

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Reports the compilation, which the first call of the step starts with."""
        if self._compiled:
            yield
            return
        logger.info("compiling the training step")
        self._bar.set_description("compiling")
        started = time.monotonic()
        yield
        logger.info("compiled in %.1f s", time.monotonic() - started)
        self._bar.set_description("training")
        self._bar.unpause()  # The time left does not depend on the compilation.

    def step(self, step: int, window: Window) -> None:
        """Shows a step that was sent to the devices; waits only for the first one.

        Args:
            step: its number, from 1.
            window: the window of the step.
        """
        if not self._compiled:
            self._compiled = True
            window.wait()
            logger.info("step %d: loss=%.5g", step, window.latest_loss())
        # Fetching a loss takes time; tqdm redraws at most ten times a second.
        if self._bar.update():
            self._show(window.latest_loss())

    def _show(self, loss: float | None) -> None:
        loss = self._written.get("loss") if loss is None else loss
        values = {"loss": loss, "oIoU": self._written.get(self._score)}
        known = {name: f"{x:.4f}" for name, x in values.items() if x is not None}
        self._bar.set_postfix(known)

    def close(self) -> None:
        """Ends the bar, which stays in the terminal."""
        if not self._bar.disable:
            self._show(None)
        self._bar.close()
        self._opened.close()


@contextlib.contextmanager
def _logs_above_bars() -> Iterator[None]:
    """Prints log lines above the bars, with the handlers and formats in use.

    tqdm's own redirection replaces only handlers of the standard library: every line
    would appear a second time through absl's.
    """
    before = logging.root.handlers
    logging.root.handlers = [_AboveBars(before)]
    try:
        yield
    finally:
        logging.root.handlers = before


class _AboveBars(logging.Handler):
    """Passes records to other handlers while all bars are hidden."""

    def __init__(self, handlers: list[logging.Handler]):
        super().__init__()
        self._handlers = handlers

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode():
            for handler in self._handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)
