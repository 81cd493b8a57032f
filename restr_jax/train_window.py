"""What training says of the steps between two lines of metrics."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


class Window:
    """Sums up the steps between two lines of metrics."""

    def __init__(self, total_steps: int):
        """Starts the clock of a run of so many steps."""
        self._total_steps = total_steps
        self._sums: list[dict] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leaves out of the speed what was not training."""
        self._started, self._timed, self._idle = time.monotonic(), 0, 0.0

    def next_batch(self, batches: Iterator) -> Any:
        """Takes a batch; counts the wait if the devices had nothing to do meanwhile."""
        started = time.monotonic()
        batch = next(batches)
        # The devices have done all they were given, at some time during the wait.
        if not self._sums or self._sums[-1]["loss"].is_ready():
            self._idle += time.monotonic() - started
        return batch

    def add(self, sums: dict) -> None:
        """Takes a step's sums, still on the device: nothing waits for them here."""
        self._sums.append(sums)
        self._timed += 1

    def close(self, step: int) -> dict[str, float]:
        """Returns the means of the window that ends with a step.

        Raises:
            FloatingPointError: if the loss is not finite.
        """
        fetched = jax.device_get(self._sums)
        seconds = max(time.monotonic() - self._started, 1e-9)
        count = sum(float(s["count"]) for s in fetched)
        means = {
            name: sum(float(s[name]) for s in fetched) / count
            for name in ("loss", "pixel_loss", "patch_loss")
        }
        if not np.isfinite(means["loss"]):
            raise FloatingPointError(
                f"The loss became {means['loss']} between steps "
                f"{step - len(fetched)} and {step}. The last checkpoint is from "
                "before it; resume with a smaller config.optimizer.learning_rate or "
                "with config.optimizer.clip_norm=1.0 in a new workdir."
            )
        speed = self._timed / seconds
        norms = [float(s["gradient_norm"]) for s in fetched]
        means |= {
            "gradient_norm": float(np.mean(norms)),
            "learning_rate": float(fetched[-1]["learning_rate"]),
            "expressions_per_second": count / len(fetched) * speed,
            # Share of the time in which the devices may have waited for a batch.
            "input_wait": self._idle / seconds,
            "minutes_left": (self._total_steps - step) / speed / 60,
        }
        self._sums = []
        self.restart_clock()
        return means
