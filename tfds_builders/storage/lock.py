"""Locks against other processes, as far as file systems have them."""

import contextlib
import fcntl
import functools
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import IO

logger = logging.getLogger(__name__)


def lock(file: IO, *, wait: bool) -> bool:
    """Locks an open file until it is closed or this process ends, however it ends.

    Some file systems have no locks, such as many installations of Lustre and NFS. Work
    continues there without a lock: a lost result is worse than an unlikely second
    process.

    Args:
        file: the file.
        wait: wait for another process that holds the lock.

    Returns:
        False if the file system has no locks.

    Raises:
        BlockingIOError: if another process holds the lock and `wait` is not set.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:  # ENOSYS, ENOLCK, EOPNOTSUPP, and others of FUSE.
        _warn(pathlib.Path(file.name).absolute().parent, error.strerror)
        return False
    return True


@functools.cache  # Results are locked row by row.
def _warn(folder: pathlib.Path, why: str) -> None:
    logger.warning(
        "%s cannot be locked (%s). Continuing without a lock: let no second process "
        "write there, or choose a folder on another file system.",
        folder,
        why,
    )


@contextlib.contextmanager
def building(data_path: str | os.PathLike) -> Iterator[None]:
    """Locks a data set against a second build, and removes output of killed builds.

    Without locks, such output stays: it could belong to a build that is running.

    Args:
        data_path: the folder of the built data set.

    Raises:
        ValueError: if another process is building it.
    """
    parent = pathlib.Path(data_path).parent
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / ".building").open("w") as file:
        try:
            leftovers = parent.glob("incomplete.*") if lock(file, wait=False) else ()
        except BlockingIOError as error:
            raise ValueError(
                f"{parent} is being built by another process. Wait for it to finish."
            ) from error
        for leftover in leftovers:
            shutil.rmtree(leftover)
        yield
