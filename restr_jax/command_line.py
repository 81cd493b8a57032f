"""Flag parsing and one-line errors for all commands with a --config."""

import argparse
import difflib
import functools
import importlib.util
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

_HERE = pathlib.Path(__file__).parent
# An installed package holds the configurations; in a checkout they stand beside it.
CONFIGS = next(f for f in (_HERE / "configs", _HERE.parent / "configs") if f.is_dir())


def config_names() -> list[str]:
    """Returns the names of configurations for --config, such as "gref"."""
    files = (path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.py"))
    names = (path.with_suffix("").as_posix() for path in files)
    return sorted(n for n in names if n != "common" and not n.endswith("__init__"))


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


def _find_config(given: str) -> str:
    """Returns the file of a configuration's name or path; words follow a colon."""
    name, colon, words = given.partition(":")
    if name in config_names():
        return f"{CONFIGS / name}.py{colon}{words}"
    return typed(given)


def _with_config_file(argv: list[str]) -> list[str]:
    """Replaces the name of a configuration in --config by the path of its file."""
    found = list(argv)
    for i, argument in enumerate(argv):
        flag, sign, given = argument.partition("=")
        if flag not in ("-config", "--config"):
            continue
        if sign:
            found[i] = f"{flag}={_find_config(given)}"
        elif i + 1 < len(argv):
            found[i + 1] = _find_config(argv[i + 1])
    return found


def _import_configs() -> None:
    """Imports the package `configs`, from which configurations import others.

    An installed package has it in another place. A folder of that name in the current
    folder is ignored.
    """
    if "configs" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location("configs", CONFIGS / "__init__.py")
    sys.modules["configs"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; errors print one line."""
    try:
        argv = _with_config_file(argv)
    except UnknownHomeError as error:
        sys.exit(str(error))
    config_file = _config_file(argv)
    if config_file is not None and not os.path.isfile(config_file):
        _refuse_config(config_file)
    _import_configs()
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


def _refuse_config(path: str) -> NoReturn:
    """Ends the command with a missing config file and the closest configuration."""
    name = path.removesuffix(".py").removeprefix("configs/")
    close = difflib.get_close_matches(name, config_names(), 1, cutoff=0.75)
    hint = f" Is it {close[0]}?" if close else ""
    short = (name for name in config_names() if "/" not in name)
    sys.exit(
        f"FileNotFoundError: --config={path} is not a file; expected a config file, or "
        f"one of the names {', '.join(short)} and ablations/NAME.{hint}"
    )


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
