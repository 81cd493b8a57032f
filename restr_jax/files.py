"""Files that survive a kill and a second process."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

_FULL_OR_LOCKED = errno.ENOSPC, errno.EDQUOT, errno.EROFS


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Replaces a file atomically: a kill leaves the old file or the new one.

    Yields:
        The path to write to, which replaces the file if the block raises no error.
    """
    partial = path.with_name(path.name + ".partial")
    yield partial
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def refuse_to_replace(*paths: pathlib.Path) -> None:
    """Refuses to write over files that this program did not write.

    Raises:
        FileExistsError: if one of the paths exists.
    """
    taken = [str(path) for path in paths if path.exists()]
    if taken:
        raise FileExistsError(
            f"{', '.join(taken)} would be written over, but is not of an earlier run "
            "of this command. Choose another output, or move it."
        )


def write_whole(path: pathlib.Path, text: str) -> None:
    """Replaces a text file atomically, see `whole`."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: pathlib.Path, is_right: Callable[[Any], bool], remedy: str) -> Any:
    """Reads a JSON file that this package wrote but something else may have changed.

    Args:
        path: the path of the file.
        is_right: returns whether the content has the expected form; may raise
            AttributeError or TypeError if it has another.
        remedy: advice for a damaged file.

    Raises:
        OSError: if it cannot be read.
        ValueError: with the remedy, if it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not is_right(content):
            raise ValueError("The JSON has another form.")
    # Endless nesting raises RecursionError.
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}). {remedy}"
        ) from error
    return content


def unwritable(path: pathlib.Path | str, error: OSError) -> OSError:
    """Returns an error, with its fix, for a path that cannot be written to."""
    return OSError(
        f"{path} cannot be written to ({error.strerror}). Free some disk space or make "
        "the folder writable, then rerun the same command; or choose another --workdir."
    )


def first_line(error: Exception, most: int = 400) -> str:
    """Returns the first line of an error message, or the type of an empty one.

    Args:
        error: the error.
        most: the maximum number of characters of the line.
    """
    return str(error).partition("\n")[0][:most] or type(error).__name__


def in_one_line(error: Exception) -> str:
    """Formats a user error as one line, without a traceback.

    Any write may raise the error of a full or read-only disk, which contains no fix.
    """
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in _FULL_OR_LOCKED:
        said += ". Free some disk space, or choose another folder, then start again."
    return said


@contextlib.contextmanager
def locked(path: pathlib.Path, message: str | None = None) -> Iterator[None]:
    """Locks out other processes; the lock ends with this process, however it ends.

    Args:
        path: the path of the lock, an empty file that remains.
        message: the error message for a second process; without one, it waits.

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
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if message else 0))
        except BlockingIOError as error:
            raise BlockingIOError(message) from error
        yield
