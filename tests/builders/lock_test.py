import errno
import fcntl
import logging
import os

import pytest

from restr_jax import files
from tfds_builders.storage import lock


def without_locks(number):
    """Returns an flock that fails as on a file system without locks."""

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_work_continues_without_locks_with_one_warning(
    tmp_path, monkeypatch, caplog, number
):
    monkeypatch.setattr(fcntl, "flock", without_locks(number))
    ran = []
    with caplog.at_level(logging.WARNING):
        for message in (None, "busy"):
            with files.locked(tmp_path / ".lock", message):
                ran.append(message)
    assert ran == [None, "busy"]
    assert caplog.text.count(f"{tmp_path} cannot be locked") == 1
    assert os.strerror(number) in caplog.text


def test_a_second_process_is_refused_where_there_are_locks(tmp_path):
    with files.locked(tmp_path / ".lock"):
        with pytest.raises(BlockingIOError, match="busy"):
            with files.locked(tmp_path / ".lock", "busy"):
                pass
    with files.locked(tmp_path / ".lock", "busy"):
        pass


def test_output_of_killed_builds_is_removed_under_a_lock_only(tmp_path, monkeypatch):
    leftover = tmp_path / "own" / "incomplete.ABC_1.0.0"
    leftover.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", without_locks(errno.ENOSYS))
        with lock.building(tmp_path / "own" / "1.0.0"):
            assert leftover.exists()  # Another build may be writing it.
    with lock.building(tmp_path / "own" / "1.0.0"):
        assert not leftover.exists()
        with pytest.raises(ValueError, match="is being built by another process"):
            with lock.building(tmp_path / "own" / "1.0.0"):
                pass
