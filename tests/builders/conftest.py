"""The command `python -m tfds_builders.prepare` without a start of Python."""

import signal
import subprocess
import sys
import warnings

import pytest


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns a function that runs the command in this process, as subprocess.run."""
    from tfds_builders import prepare

    def run_command(*arguments):
        command = ["prepare", *map(str, arguments)]
        code, message = 0, ""
        with monkeypatch.context() as patch, warnings.catch_warnings():
            patch.setattr(sys, "argv", command)
            patch.setattr(signal, "signal", lambda *_: None)
            try:
                prepare.main()
            except SystemExit as ended:
                # Python prints other codes than numbers.
                code, message = (
                    (ended.code or 0, "")
                    if isinstance(ended.code, int | None)
                    else (1, f"{ended.code}\n")
                )
        said = capsys.readouterr()
        return subprocess.CompletedProcess(command, code, said.out, said.err + message)

    return run_command
