"""Training numbers to the log, to JSON lines and to TensorBoard."""

import json
import logging
import pathlib

import jax
import tensorboardX

from restr_jax.files import write_whole

logger = logging.getLogger(__name__)


class MetricWriter:
    """Writes scalars by step; a resumed run continues its own history.

    Of several processes, the first writes.
    """

    def __init__(self, workdir: str, first_step: int):
        """Opens the files of a workdir.

        Args:
            workdir: where they are.
            first_step: the run goes on after this step: lines of later steps belong
                to what was lost, and are dropped so that no step stands twice.
        """
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step(line) <= first_step]
        write_whole(self._path, "".join(line + "\n" for line in kept))
        self._file = self._path.open("a")
        self._board = tensorboardX.SummaryWriter(
            str(workdir), purge_step=first_step + 1 if lines else None
        )

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line of scalars."""
        if not self._writes:
            return
        text = " ".join(f"{name}={value:.5g}" for name, value in scalars.items())
        logger.info("step %d: %s", step, text)
        self._file.write(json.dumps({"step": step} | scalars) + "\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes everything."""
        if not self._writes:
            return
        self._file.close()
        self._board.close()


def _step(line: str) -> int | float:
    """Returns the step of a line; a line cut off by a kill counts as lost."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return float("inf")
