"""What training says of the steps between two lines of metrics."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

logger = logging.getLogger(__name__)


# Steps that the devices may be given before they have done those before: enough to
# keep them busy, and few enough to stop soon.
_AHEAD = 2


class Window:
    """Sums up the steps between two lines of metrics."""

    def __init__(
        self,
        total_steps: int,
        past: Sequence[dict[str, float]] = (),
        *,
        skip_nonfinite: bool = False,
    ):
        """Starts the clock.

        Args:
            total_steps: of the run.
            past: `sums_so_far` of the window that the run was stopped in.
            skip_nonfinite: go on after a step that gave no number.
        """
        self._total_steps, self._skip = total_steps, skip_nonfinite
        self._past = list(past)
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
        """Takes a step's sums, still on the device; waits for the steps before it."""
        self._sums.append(sums)
        self._timed += 1
        if len(self._sums) > _AHEAD:
            jax.block_until_ready(self._sums[-1 - _AHEAD])

    def sums_so_far(self, step: int) -> tuple[dict[str, float], ...]:
        """Waits for the devices, and returns the sums of each step of the window.

        Args:
            step: the last one that was given to the devices.

        Raises:
            FloatingPointError: if one of them gave no number, and is not to be skipped.
        """
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
            f"{sums['loss']}, norm of the gradient {sums['gradient_norm']}."
        )
        if not self._skip:
            raise FloatingPointError(
                f"{what} The last checkpoint is from before it. Go on from there with "
                "config.optimizer.nonfinite=skip, which leaves such steps out, or "
                "begin a new workdir with a smaller config.optimizer.learning_rate or "
                "with config.optimizer.clip_norm=1.0."
            )
        logger.warning("%s It was skipped.", what)
        return {name: x if np.isfinite(x) else 0.0 for name, x in sums.items()}

    def close(self, step: int) -> dict[str, float]:
        """Returns the means of the window that ends with a step.

        Steps that were skipped since they gave no number count in nothing else.

        Raises:
            FloatingPointError: as `sums_so_far`.
        """
        done = self.sums_so_far(step)
        seconds = max(time.monotonic() - self._started, 1e-9)
        good = [sums for sums in done if not sums["nonfinite"]]
        count = sum(sums["count"] for sums in good)
        means = {}
        if count:
            for name in ("loss", "pixel_loss", "patch_loss", "dice_loss"):
                if name in good[0]:
                    means[name] = sum(sums[name] for sums in good) / count
            means["gradient_norm"] = sum(s["gradient_norm"] for s in good) / len(good)
        speed = self._timed / seconds
        means |= {
            "learning_rate": done[-1]["learning_rate"],
            "expressions_per_second": sum(s["count"] for s in done) / len(done) * speed,
            # Share of the time in which the devices may have waited for a batch.
            "input_wait": self._idle / seconds,
            "minutes_left": (self._total_steps - step) / speed / 60,
            "skipped_steps": len(done) - len(good),
            "bad_images": int(sum(sums["bad_images"] for sums in done)),
        }
        self._past = []
        self.restart_clock()
        return means
