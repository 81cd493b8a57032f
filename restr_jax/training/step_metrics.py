"""Training metrics of the steps between two lines of metrics.jsonl."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

logger = logging.getLogger(__name__)


# Steps that may be queued while the devices work on earlier ones: enough to keep them
# busy, and few enough to stop soon.
_AHEAD = 2


class Window:
    """Accumulates the steps between two lines of metrics."""

    def __init__(
        self,
        total_steps: int,
        past: Sequence[dict[str, float]] = (),
        *,
        skip_nonfinite: bool = False,
    ):
        """Starts the clock.

        Args:
            total_steps: the number of steps of the run.
            past: `sums_so_far` of the window in which the run was stopped.
            skip_nonfinite: continue after a non-finite step.
        """
        self._total_steps, self._skip = total_steps, skip_nonfinite
        self._past = list(past)
        self._sums: list[dict] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Restarts the clock, to exclude time outside training from the speed."""
        self._started, self._timed, self._idle = time.monotonic(), 0, 0.0

    def next_batch(self, batches: Iterator) -> Any:
        """Takes a batch; counts the wait if the devices were idle meanwhile."""
        started = time.monotonic()
        batch = next(batches)
        # The devices finished all queued steps at some time during the wait.
        if not self._sums or self._sums[-1]["loss"].is_ready():
            self._idle += time.monotonic() - started
        return batch

    def add(self, sums: dict) -> None:
        """Adds a step's sums, still on the device; waits for the steps before it."""
        self._sums.append(sums)
        self._timed += 1
        # Without a limit, the loop would queue steps, with their batches, far ahead.
        if len(self._sums) > _AHEAD:
            jax.block_until_ready(self._sums[-1 - _AHEAD])

    def wait(self) -> None:
        """Waits for all steps sent to the devices."""
        jax.block_until_ready(self._sums)

    def latest_loss(self) -> float | None:
        """Returns the mean loss of the newest finished step, without any wait.

        Returns:
            None if no step of this window has finished.
        """
        for sums in reversed(self._sums):
            if sums["loss"].is_ready():
                loss, count = jax.device_get((sums["loss"], sums["count"]))
                return float(loss) / max(float(count), 1.0)
        return None

    def sums_so_far(self, step: int) -> tuple[dict[str, float], ...]:
        """Waits for the devices, and returns the sums of each step of the window.

        Args:
            step: the last step sent to the devices.

        Raises:
            FloatingPointError: if a step is non-finite and not to be skipped.
        """
        # One transfer for all steps; fetching each at once would stall the devices.
        fetched = jax.device_get(self._sums)
        for number, sums in enumerate(fetched, step - len(fetched) + 1):
            self._past.append(self._checked(number, jax.tree.map(float, sums)))
        self._sums = []
        return tuple(self._past)

    def _checked(self, number: int, sums: dict[str, float]) -> dict[str, float]:
        if not sums["nonfinite"]:
            return sums
        what = (
            f"The loss or gradient of step {number} is not finite: loss "
            f"{sums['loss']}, gradient norm {sums['gradient_norm']}."
        )
        if not self._skip:
            raise FloatingPointError(
                f"{what} The last checkpoint precedes it. Resume from there with "
                "config.optimizer.nonfinite=skip, which skips such steps, or start a "
                "new workdir with a smaller config.optimizer.learning_rate or with "
                "config.optimizer.clip_norm=1.0."
            )
        logger.warning("%s It was skipped.", what)
        # JSON has no NaN, and a checkpoint stores these sums.
        return {name: x if np.isfinite(x) else 0.0 for name, x in sums.items()}

    def close(self, step: int) -> dict[str, float]:
        """Returns the means of the window that ends with a step.

        Skipped non-finite steps are excluded from the mean losses and gradient norm.

        Raises:
            FloatingPointError: as `sums_so_far`.
        """
        done = self.sums_so_far(step)
        seconds = max(time.monotonic() - self._started, 1e-9)
        good = [sums for sums in done if not sums["nonfinite"]]
        count = sum(sums["count"] for sums in good)
        means = {}
        # A mean over expressions, not over steps: the last batch may be partly padding.
        if count:
            for name in ("loss", "pixel_loss", "patch_loss", "dice_loss"):
                if name in good[0]:
                    means[name] = sum(sums[name] for sums in good) / count
            means["gradient_norm"] = sum(s["gradient_norm"] for s in good) / len(good)
        speed = self._timed / seconds
        means |= {
            "learning_rate": done[-1]["learning_rate"],
            "expressions_per_second": sum(s["count"] for s in done) / len(done) * speed,
            # Share of time in which the devices may have waited for a batch.
            "input_wait": self._idle / seconds,
            "minutes_left": (self._total_steps - step) / speed / 60,
            "skipped_steps": len(done) - len(good),
            "bad_images": int(sum(sums["bad_images"] for sums in done)),
        }
        self._past = []
        self.restart_clock()
        return means
