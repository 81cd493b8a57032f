"""Errors of checkpoints: one clear line of each, and no echoes."""

import functools
import logging
import pathlib
import sys
import warnings

_ECHOES = "Event loop is closed", "Encountered error while reading array"


def not_written(
    error: Exception, folder: pathlib.Path, step: int
) -> OSError | RuntimeError:
    """Returns the error of a checkpoint that cannot be written.

    Args:
        error: the cause.
        folder: of the checkpoints; the last whole one in it is named.
        step: of the checkpoint.

    Returns:
        An OSError if the disk is the cause, and else a RuntimeError.
    """
    # Not by Orbax's list, which lacks those that it would have removed after this one.
    names = [path.name for path in folder.iterdir()]
    whole = [int(name) for name in names if name.isdigit() and int(name) < step]
    before = f"{max(whole)} is whole" if whole else "There is none before it"
    said = f"Checkpoint {step} cannot be written to {folder} ({first_line(error)}). "
    resume = "rerun the same command: it resumes from the last checkpoint."
    if _is_of_the_disk(error):
        return OSError(
            f"{said}{before}. Free some disk space, or make the folder writable, then "
            f"{resume}"
        )
    return RuntimeError(
        f"{said}{before}. The disk is not the cause; report this error, and {resume}"
    )


def _is_of_the_disk(error: Exception) -> bool:
    # TensorStore's errors of files have this in their text. A TimeoutError is an
    # OSError as well, without a number.
    return "[OS error" in str(error) or getattr(error, "errno", None) is not None


@functools.cache
def mute_echoes() -> None:
    """Keeps hundreds of traces away: one for each array that cannot be moved.

    The first of these errors is raised, and says enough. The others reach Orbax's log,
    tasks that it has forgotten, and event loops that it has closed.
    """

    def is_no_error_of_orbax(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    logging.getLogger("absl").addFilter(is_no_error_of_orbax)
    tasks = logging.getLogger("asyncio")
    tasks.addFilter(lambda record: "never retrieved" not in record.getMessage())
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def print_others(raised):
        if not str(raised.exc_value).startswith(_ECHOES):
            before(raised)

    sys.unraisablehook = print_others


def first_line(error: Exception) -> str:
    """Returns an error's first line, or its kind."""
    return str(error).partition("\n")[0][:400] or type(error).__name__
