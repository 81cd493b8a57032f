"""Helpers of the fuzz targets: their table, files, and the permitted errors."""

import atexit
import contextlib
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent
TESTDATA = ROOT / "tests" / "testdata"

# Used by this process alone. The parsers' errors must name the files in it.
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


class Target(NamedTuple):
    """A parser that reads bytes.

    Attributes:
        seeds: valid and nearly valid inputs to start from.
        run: feeds the parser; every error that it raises is a finding.
    """

    seeds: list[bytes]
    run: Callable[[bytes], None]


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable:
    """Registers a function in `TARGETS` under its name."""

    def enter(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def run(content: bytes) -> None:
            # Warnings are shown to users and do no harm.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function(content)

        TARGETS[function.__name__] = Target(list(seeds), run)
        return function

    return enter


def write(name: str, content: bytes) -> pathlib.Path:
    """Writes the file of the given name in `FOLDER`."""
    path = FOLDER / name
    with open(path, "wb") as file:
        file.write(content)
    return path


def seed_files(*names: str) -> list[bytes]:
    """Reads files of tests/testdata."""
    return [(TESTDATA / name).read_bytes() for name in names]


@contextlib.contextmanager
def documented(*names: str, also: Iterable[type[Exception]] = ()) -> Iterator[None]:
    """Suppresses the errors that parsers may raise: ValueError and OSError with a name.

    Args:
        names: the message must contain one of them, unless there are none.
        also: further permitted types, with any message.
    """
    try:
        yield
    except tuple(also):
        pass
    except (ValueError, OSError) as error:
        said = str(error)
        if names and not any(name in said for name in names):
            raise AssertionError(f"The error names no file: {said!r}") from error


def text_of(content: bytes) -> str:
    """Converts bytes to any text, including lone surrogates (as in JSON escapes)."""
    return content.decode("utf-8", errors="surrogateescape")


def storable(*texts: str) -> None:
    """Asserts that texts can be written to a file or a data set."""
    for text in texts:
        assert isinstance(text, str)
        assert text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
