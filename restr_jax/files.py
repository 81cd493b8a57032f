"""Files that survive a kill and a second process."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tfds_builders.storage.lock import lock
from tfds_builders.storage.paths import typed

_FULL_OR_LOCKED = errno.ENOSPC, errno.EDQUOT, errno.EROFS


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Replaces a file atomically: a kill leaves the old file or the new one.

    Its folder is created.

    Yields:
        The path to write to, which replaces the file if the block raises no error.
    """
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def output_file(path: str | pathlib.Path, suffix: str = "") -> pathlib.Path:
    """Returns the path of a file to write, checked before the work for it.

    Args:
        path: the path that a user typed.
        suffix: the end that its readers expect, such as ".npz".

    Raises:
        ValueError: if it has another suffix, or is a folder.
    """
    file = pathlib.Path(typed(path))
    if suffix and file.suffix != suffix:
        raise ValueError(
            f"The output {file} has to be a file whose name ends in {suffix}, such as "
            f"{file.with_suffix(suffix) if file.name else f'weights{suffix}'}."
        )
    if file.is_dir():
        raise ValueError(f"The output {file} is a folder; give a file in it.")
    return file


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


def named(names: Sequence[str], between: str = ", ", most: int = 5) -> str:
    """Joins the first names for a message, and counts the others."""
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")


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

    Where the file system has no locks, it warns and goes ahead, see `lock`.

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
            lock(file, wait=message is None)
        except BlockingIOError as error:
            raise BlockingIOError(message) from error
        yield
