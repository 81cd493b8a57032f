"""What all commands with a --config share: their flags, and errors in one line."""

import functools
import logging
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

from restr_jax.files import in_one_line


def run(command: Callable[[], None]) -> None:
    """Runs a command; what the user can mend ends in one line instead of a trace."""
    app.run(functools.partial(_run, command), flags_parser=_parse_flags)


def _run(command: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    # Our own progress, and of the libraries only what is wrong.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("restr_jax").setLevel(logging.INFO)
    logging.getLogger("absl").addFilter(_without_trace)
    try:
        command()
    except (OSError, FloatingPointError, ValueError) as error:
        sys.exit(in_one_line(error))
    except (MemoryError, RuntimeError) as error:
        # XLA has one kind of error for all that goes wrong on a device.
        said = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in said:
            raise
        sys.exit(
            f"MemoryError: Memory ran out ({said}). A smaller config.batch_size, in "
            "scoring config.eval.images_per_device, takes less; config.model.remat and "
            "config.accumulate_steps do so for the same batch. docs/scaling.md has "
            "them."
        )
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)  # As a shell says it of SIGINT.


def _without_trace(record: logging.LogRecord) -> bool:
    """Takes the trace from what libraries log: what they raise as well has one."""
    record.exc_info = None
    return True


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it is said in one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        # Of a config file's own error comes a trace, which ends in what it says.
        said = str(error).rstrip().splitlines()[-1].strip()
        sys.exit(f"{said}\nPass --helpshort or --helpfull to see help on flags.")
    except (AttributeError, KeyError) as error:
        # A quoted key, and on a line of its own what may have been meant; the whole is
        # quoted again, or not.
        said = str(error.args[0]).replace("\\n", "\n")
        key, hint = (part.strip("\"'\\") for part in said.partition("\n")[::2])
        sys.exit(
            f"ValueError: There is no config key {key!r}; configs/common.py lists "
            f"every key with its meaning. {hint}".rstrip()
        )
    except (IndexError, RecursionError, TypeError) as error:
        # A part of a value, as config.model.image_size[0], or nesting without end.
        sys.exit(
            f"ValueError: An override of --config cannot be read ({error}); "
            "configs/common.py lists every key with its meaning."
        )
