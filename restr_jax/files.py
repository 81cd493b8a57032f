"""Files that a kill, or a second process, must not spoil."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator

_FULL_OR_LOCKED = errno.ENOSPC, errno.EDQUOT, errno.EROFS


def write_whole(path: pathlib.Path, text: str) -> None:
    """Replaces a text file in one move: a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def unwritable(path: pathlib.Path | str, error: OSError) -> OSError:
    """Returns an error that says what to do about a path that cannot be written to."""
    return OSError(
        f"{path} cannot be written to ({error.strerror}). Mend that, as by making room "
        "on the disk, and start the same command again; or choose another --workdir."
    )


def in_one_line(error: Exception) -> str:
    """Says what the user can mend, without a trace.

    Errors of a disk that is full or read-only come from any line that writes, and say
    nothing of what to do.
    """
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in _FULL_OR_LOCKED:
        said += ". Make room on the disk, or choose another folder; then start again."
    return said


@contextlib.contextmanager
def locked(path: pathlib.Path, message: str) -> Iterator[None]:
    """Keeps other processes out; the lock ends with this one, however that ends.

    Args:
        path: of the lock, an empty file that stays.
        message: what to say to a second process.

    Raises:
        BlockingIOError: with the message, if another process holds the lock.
        OSError: if its folder cannot be written to.
    """
    try:
        opened = path.open("w")
    except OSError as error:
        raise unwritable(path.parent, error) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(message) from error
        yield
