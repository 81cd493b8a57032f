"""Files that a kill, or a second process, must not spoil."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

_FULL_OR_LOCKED = errno.ENOSPC, errno.EDQUOT, errno.EROFS


def write_whole(path: pathlib.Path, text: str) -> None:
    """Replaces a text file in one move: a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: pathlib.Path, is_right: Callable[[Any], bool], remedy: str) -> Any:
    """Reads a JSON file that this package wrote, and something else may have changed.

    Args:
        path: of the file.
        is_right: tells whether the content is of the form that was written; it may
            raise AttributeError or TypeError where it is not.
        remedy: what to do about a file that is damaged.

    Raises:
        OSError: if it cannot be read.
        ValueError: with the remedy, if it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not is_right(content):
            raise ValueError("It is JSON of another form.")
    # RecursionError comes of nesting without end.
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}). {remedy}"
        ) from error
    return content


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
