"""Flag parsing and one-line errors for all commands with a --config."""

import argparse
import difflib
import functools
import logging
import os
import pathlib
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from restr_jax.files import first_line, in_one_line
from tfds_builders.storage.paths import UnknownHomeError, typed


def run(command: Callable[[], None]) -> None:
    """Runs a command; user errors print one line instead of a traceback."""
    app.run(functools.partial(_run, command), flags_parser=_parse_flags)


def _run(command: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    # Log our own progress, but only the warnings of libraries.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("restr_jax").setLevel(logging.INFO)
    logging.getLogger("absl").addFilter(_without_trace)
    try:
        command()
    except (OSError, FloatingPointError, ValueError) as error:
        sys.exit(in_one_line(error))
    except (MemoryError, RuntimeError) as error:
        # XLA raises one error type for all failures on a device.
        said = first_line(error)
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in said:
            raise
        sys.exit(
            f"MemoryError: Memory ran out ({said}). Reduce config.batch_size, or in "
            "scoring config.eval.images_per_device. config.model.remat and "
            "config.accumulate_steps save memory at the same batch size; see "
            "docs/scaling.md."
        )
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)  # The shell convention for SIGINT.


def _without_trace(record: logging.LogRecord) -> bool:
    """Drops the traceback of a library's log record: the raised error has one too."""
    record.exc_info = None
    return True


def _typed_config(argument: str) -> str:
    name, sign, path = argument.partition("=")
    return name + sign + typed(path) if name.strip("-") == "config" else argument


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; errors print one line."""
    try:
        argv = [_typed_config(argument) for argument in argv]
    except UnknownHomeError as error:
        sys.exit(str(error))
    config_file = _config_file(argv)
    if config_file is not None and not os.path.isfile(config_file):
        known = map(str, pathlib.Path("configs").glob("*.py"))
        close = difflib.get_close_matches(config_file, known, 1, cutoff=0.85)
        hint = f" Is it {close[0]}?" if close else ""
        sys.exit(
            f"FileNotFoundError: --config={config_file} is not a file; expected a "
            f"config file such as configs/gref.py.{hint}"
        )
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        # A config file's own error comes as a traceback, with the message last.
        said = str(error).rstrip().splitlines()[-1].strip()
        sys.exit(f"{said}\nPass --helpshort or --helpfull to see help on flags.")
    except (AttributeError, SyntaxError) as error:
        if isinstance(error, AttributeError) and "get_config" not in str(error):
            _refuse_key(error)
        sys.exit(
            f"ValueError: --config={config_file} is not a config file ({error}); "
            "expected Python with a function get_config, as in configs/gref.py."
        )
    except KeyError as error:
        _refuse_key(error)
    except (IndexError, RecursionError, TypeError) as error:
        # A part of a value, such as config.model.image_size[0], or endless nesting.
        sys.exit(
            f"ValueError: An override of --config cannot be read ({error}); "
            "configs/common.py lists every key with its meaning."
        )


def _config_file(argv: list[str]) -> str | None:
    """Returns the file that --config names, or None."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-config", nargs="?")
    given = parser.parse_known_args(argv)[0].config
    # Words for `get_config` follow a colon.
    return given and given.partition(":")[0]


def _refuse_key(error: AttributeError | KeyError) -> NoReturn:
    """Ends the command with an unknown config key and the closest known one."""
    # The text is a quoted key and, on its own line, a suggested one. The whole may be
    # quoted again.
    said = str(error.args[0]).replace("\\n", "\n")
    key, hint = (part.strip("\"'\\") for part in said.partition("\n")[::2])
    sys.exit(
        f"ValueError: There is no config key {key!r}; configs/common.py lists every "
        f"key with its meaning. {hint}".rstrip()
    )
