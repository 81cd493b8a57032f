"""Training numbers to the log, to JSON lines and to TensorBoard."""

import json
import logging
import pathlib

import jax
import tensorboardX

from restr_jax.files import unwritable, write_whole

logger = logging.getLogger(__name__)


class MetricWriter:
    """Writes scalars by step; a resumed run continues its own history.

    Of several processes, the first writes.

    Attributes:
        lines: of metrics.jsonl so far.
    """

    def __init__(self, workdir: str, first_step: int, lines: int = 0):
        """Opens the files of a workdir.

        Args:
            workdir: where they are.
            first_step: the run goes on after this step.
            lines: `lines` when that step was saved; later ones belong to what was lost,
                and are dropped so that no step stands twice.
        """
        self._writes = jax.process_index() == 0
        self.lines = lines
        if not self._writes:
            return
        path = pathlib.Path(workdir) / "metrics.jsonl"
        found = path.read_text().splitlines() if path.exists() else []
        if len(found) < lines:
            logger.warning("%s has lost %d lines", path, lines - len(found))
        self.lines = min(lines, len(found))
        write_whole(path, "".join(line + "\n" for line in found[:lines]))
        self._file = path.open("a")
        self._board = tensorboardX.SummaryWriter(
            str(workdir), purge_step=first_step + 1 if found else None
        )

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line of scalars."""
        if not self._writes:
            return
        text = " ".join(f"{name}={value:.5g}" for name, value in scalars.items())
        logger.info("step %d: %s", step, text)
        try:
            self._file.write(json.dumps({"step": step} | scalars) + "\n")
            self._file.flush()
        except OSError as error:
            raise unwritable(self._file.name, error) from error
        self.lines += 1
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes everything."""
        if not self._writes:
            return
        # On a full disk they fail again, which must not hide what failed first.
        for opened in (self._file, self._board):
            try:
                opened.close()
            except OSError as error:
                logger.warning("metrics were lost: %s", error)
