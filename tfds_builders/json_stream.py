"""Reads the lists of a large JSON object entry by entry.

COCO's files have hundreds of megabytes. Parsed whole, they take several times as much
memory.
"""

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

_CHUNK = 1 << 20  # characters


def entries(
    path: pathlib.Path,
    names: tuple[str, ...],
    optional: tuple[str, ...] = (),
    object_pairs_hook: Callable | None = None,
) -> Iterator[tuple[str, Any]]:
    """Yields (name, entry) of the lists of these names, in the order of the file.

    Args:
        path: the file.
        names: names of required lists.
        optional: names of optional lists.
        object_pairs_hook: as in json.loads, for the entries of the lists.

    Raises:
        ValueError: if the file is not a JSON object, or a required list is missing.
    """
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))
    # Like json.loads, which keeps lone surrogates.
    with path.open(encoding=encoding, errors="surrogatepass", newline="") as file:
        try:
            yield from _entries(
                _Text(file, object_pairs_hook), set(names), set(optional)
            )
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not {encoding.upper()} ({error})") from error
        except RecursionError as error:
            raise ValueError("its JSON is nested too deeply") from error


def _entries(text: "_Text", missing: set[str], optional: set[str]) -> Iterator:
    wanted, seen = missing | optional, set()
    if text.peek() not in ("{", ""):
        raise ValueError("it is not an object {...}")
    for name in text.items("{", "}"):
        if name in seen:
            raise ValueError(f"it has the field {name!r} twice")
        seen.add(name)
        if name not in wanted:
            text.value()
        elif text.peek() == "[":
            missing.discard(name)
            for _ in text.items("[", "]"):
                yield name, text.value()
        else:
            missing = {name}
            break
    if missing:
        raise ValueError(f"it has no list of {', '.join(sorted(missing))}")
    if text.peek():
        text.fail("extra data after its end")


class _Text:
    """A text file, held in memory one part at a time."""

    def __init__(self, file, object_pairs_hook: Callable | None):
        self._file = file
        self._decoder = json.JSONDecoder(object_pairs_hook=object_pairs_hook)
        self._part, self._place, self._before, self._ended = "", 0, 0, False

    def fail(self, what: str) -> None:
        where = self._before + self._place
        raise ValueError(f"it is not JSON ({what}, character {where:,})")

    def peek(self) -> str:
        """Returns the next non-blank character, or "" at the end."""
        while True:
            while self._place < len(self._part):
                if self._part[self._place] not in " \t\r\n":
                    return self._part[self._place]
                self._place += 1
            if not self._more():
                return ""

    def items(self, opening: str, closing: str) -> Iterator[str | None]:
        """Yields the name, or None in a list, of each value for the caller to read."""
        self._expect(opening)
        if self.peek() == closing:
            self._place += 1
            return
        while True:
            name = None
            if closing == "}":
                if self.peek() != '"':
                    self.fail("expected a name")
                name = self.value()
                self._expect(":")
            yield name
            if self.peek() == closing:
                self._place += 1
                return
            self._expect(",")

    def value(self) -> Any:
        """Reads a whole value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._part, self._place)
            except json.JSONDecodeError as error:
                if not self._more():
                    self.fail(error.msg)
            else:
                # A number at the end of the part may have more digits.
                if end < len(self._part) or not self._more():
                    self._place = min(end, len(self._part))
                    return value

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            self.fail(f"expected {character}")
        self._place += 1

    def _more(self) -> bool:
        """Reads more; the part doubles each time that a value does not end."""
        if self._ended:
            return False
        kept = self._part[self._place :]
        read = self._file.read(max(_CHUNK, len(kept)))
        self._ended = not read
        if read:
            self._before += self._place
            self._part, self._place = kept + read, 0
        return bool(read)
