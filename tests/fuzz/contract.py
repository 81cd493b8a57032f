"""What fuzz targets share: their table, a file, and which errors may pass."""

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

# Of this process alone. The parsers' errors have to name what lies in it.
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


class Target(NamedTuple):
    """A parser to be fed with bytes.

    Attributes:
        seeds: valid and nearly valid inputs, to start from.
        run: feeds the parser; what it raises is a finding.
    """

    seeds: list[bytes]
    run: Callable[[bytes], None]


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable:
    """Enters a function into `TARGETS` under its name."""

    def enter(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def run(content: bytes) -> None:
            with warnings.catch_warnings():  # Users see them and lose nothing.
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
    """Lets pass what parsers may raise: ValueError and OSError that say of what.

    Args:
        names: one of them has to be in the message, unless there are none.
        also: more kinds that may pass, with any message.
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
    """Makes any text of bytes, halves of characters (as JSON spells them) included."""
    return content.decode("utf-8", errors="surrogateescape")


def storable(*texts: str) -> None:
    """Asserts that texts can be written to a file or a data set."""
    for text in texts:
        assert isinstance(text, str)
        assert text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
