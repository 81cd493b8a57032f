"""Writes training metrics to the log, to JSON lines and to TensorBoard."""

import contextlib
import io
import json
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import jax
from PIL import Image
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

from restr_jax.files import unwritable, write_whole

logger = logging.getLogger(__name__)


class MetricWriter:
    """Writes scalars by step; a resumed run continues its own history.

    If there are several processes, only the first writes.

    Attributes:
        lines: the number of lines in metrics.jsonl so far.
        last: the latest value of each scalar, also of the lines before a resume.
    """

    def __init__(self, workdir: str, first_step: int, lines: int = 0):
        """Opens the files of a workdir.

        Args:
            workdir: the workdir of the run.
            first_step: the step after which the run continues.
            lines: `lines` when that step was saved; later lines belong to lost steps
                and are dropped, so that no step appears twice.

        Raises:
            OSError: if the workdir cannot be written to.
        """
        self._writes = jax.process_index() == 0
        self.lines, self._first_step = lines, first_step
        self.last: dict[str, float] = {}
        if not self._writes:
            return
        path = pathlib.Path(workdir) / "metrics.jsonl"
        # A damaged line still counts as a line.
        text = path.read_text(errors="replace") if path.exists() else ""
        found = text.splitlines()
        if len(found) < lines:
            logger.warning("%s has lost %d lines", path, lines - len(found))
        self.lines = min(lines, len(found))
        for line in found[:lines]:
            with contextlib.suppress(TypeError, ValueError):
                self.last |= json.loads(line)
        try:
            write_whole(path, "".join(line + "\n" for line in found[:lines]))
            self._file = path.open("a")
            # SummaryWriter has a thread, where the error of a full disk goes unnoticed.
            # The process id distinguishes runs that start in the same second.
            events = str(path.with_name("events"))
            earlier = any(path.parent.glob("events.out.tfevents.*"))
            self._board = EventsWriter(events, f".{os.getpid()}")
            if earlier:  # Makes TensorBoard drop the lost steps.
                start = SessionLog(status=SessionLog.START)
                self._show(first_step + 1, session_log=start)
                self._board.flush()
        except OSError as error:
            raise unwritable(path.parent, error) from error

    def write(
        self,
        step: int,
        scalars: dict[str, float],
        further: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Writes one line of scalars.

        Args:
            step: the number of steps so far.
            scalars: the values by name.
            further: values for TensorBoard only.

        Raises:
            OSError: if it cannot be written.
        """
        self.last |= scalars
        if not self._writes:
            return
        text = " ".join(f"{name}={value:.5g}" for name, value in scalars.items())
        logger.info("step %d: %s", step, text)
        with self._explained():
            # Flushed at once: a killed run keeps the lines up to its last step.
            self._file.write(json.dumps({"step": step} | scalars) + "\n")
            self._file.flush()
            for name, value in {**scalars, **further}.items():
                self._show(step, summary=summary.scalar(name, value))
            self._board.flush()
        self.lines += 1

    def write_config(self, text: str) -> None:
        """Shows the configuration of the coming steps in TensorBoard.

        Args:
            text: the configuration as JSON.

        Raises:
            OSError: if it cannot be written.
        """
        if not self._writes:
            return
        block = summary.text("config", f"```json\n{text}\n```")
        with self._explained():
            self._show(self._first_step + 1, summary=block)
            self._board.flush()

    def write_pictures(self, step: int, pictures: dict[str, tuple[str, bytes]]) -> None:
        """Shows pictures in TensorBoard.

        Args:
            step: the number of steps so far.
            pictures: the title and the image file of each, by tag.

        Raises:
            OSError: if they cannot be written.
        """
        if not self._writes:
            return
        with self._explained():
            for tag, (title, content) in pictures.items():
                width, height = Image.open(io.BytesIO(content)).size
                image = Summary.Image(
                    width=width,
                    height=height,
                    colorspace=3,
                    encoded_image_string=content,
                )
                about = SummaryMetadata(display_name=title)
                value = Summary.Value(tag=tag, metadata=about, image=image)
                self._show(step, summary=Summary(value=[value]))
            self._board.flush()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Adds the file and a remedy to the error of a full disk."""
        try:
            yield
        except OSError as error:
            raise unwritable(self._file.name, error) from error

    def _show(self, step: int, **content) -> None:
        self._board.write_event(Event(step=step, wall_time=time.time(), **content))

    def close(self) -> None:
        """Closes the files; nothing remains to be written unless `write` failed."""
        if not self._writes:
            return
        for opened in (self._file, self._board):
            # On a full disk this fails again, and must not hide the first error.
            with contextlib.suppress(OSError):
                opened.close()
