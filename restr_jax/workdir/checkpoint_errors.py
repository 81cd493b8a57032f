"""Checkpoint errors: one clear line each, without repeated tracebacks."""

import functools
import logging
import pathlib
import sys
import warnings

from restr_jax.files import first_line

_ECHOES = "Event loop is closed", "Encountered error while reading array"


def not_written(
    error: Exception, folder: pathlib.Path, step: int
) -> OSError | RuntimeError:
    """Returns the error for a checkpoint that cannot be written.

    Args:
        error: the cause.
        folder: the folder of checkpoints; the error names the last intact one.
        step: the step of the checkpoint.

    Returns:
        An OSError if the disk is the cause, otherwise a RuntimeError.
    """
    # Orbax's own list lacks those that it would have removed after this one.
    names = [path.name for path in folder.iterdir()]
    whole = [int(name) for name in names if name.isdigit() and int(name) < step]
    before = f"{max(whole)} is intact" if whole else "There is none before it"
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
    # TensorStore's file errors contain one of these texts; for a full disk, it also
    # says RESOURCE_EXHAUSTED. A TimeoutError is an OSError too, but has no errno.
    said = str(error)
    found = "[OS error" in said or "os_error_code" in said
    return found or getattr(error, "errno", None) is not None


@functools.cache
def mute_echoes() -> None:
    """Suppresses hundreds of tracebacks: one for each array that cannot be moved.

    The first of these errors is raised and suffices. The others appear in Orbax's log,
    in tasks that it has dropped, and in event loops that it has closed.
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
