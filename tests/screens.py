"""The screen of a terminal, for tests of what people see there."""

import contextlib
import fcntl
import logging
import os
import pty
import re
import struct
import termios
import threading

_END = b"\0"
_PARTS = re.compile(r"\x1b\[A|\r|\n|[^\x1b\r\n]+")


@contextlib.contextmanager
def logged_steps():
    """Logs the package's steps, as its commands do."""
    logger = logging.getLogger("restr_jax")
    before = logger.level
    logger.setLevel(logging.INFO)  # Loggers keep what they decided, until setLevel.
    try:
        yield
    finally:
        logger.setLevel(before)


class Screen:
    """A pseudo-terminal of 200 columns."""

    def __init__(self):
        self._content = b""

    def written(self):
        """Returns everything that was written."""
        return self._content.decode()

    def lines(self):
        """Returns the lines that are visible in the end, without blank ones."""
        grid, row, column = [[]], 0, 0
        for part in _PARTS.findall(self.written()):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
            elif part == "\x1b[A":
                row -= 1
            else:
                grid += [[] for _ in range(row + 1 - len(grid))]
                line = grid[row]
                line += " " * (column + len(part) - len(line))
                line[column : column + len(part)] = part
                column += len(part)
        return [text for text in ("".join(line).rstrip() for line in grid) if text]

    @contextlib.contextmanager
    def stream(self):
        """Opens a text stream to the terminal; reads all of it until the end."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 40, 200, 0, 0))
        reader = threading.Thread(target=self._read, args=(leader,))
        reader.start()
        try:
            with os.fdopen(os.dup(follower), "w", buffering=1) as stream:
                yield stream
        finally:
            # Linux may drop what is unread when the last writer closes.
            os.write(follower, _END)
            reader.join()
            os.close(follower)
            os.close(leader)

    def _read(self, leader):
        while not self._content.endswith(_END):
            self._content += os.read(leader, 4096)
        self._content = self._content.removesuffix(_END)
