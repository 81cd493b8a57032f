"""Paths as users type them, and as other programs write them into annotations."""

import argparse
import collections
import functools
import os
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Callable, MutableMapping


class UnknownHomeError(argparse.ArgumentTypeError, ValueError):
    """A path starts with the home folder of an unknown user."""


def typed(path: str | os.PathLike) -> str:
    """Returns a path that a user typed, with ``~`` as the home folder.

    A shell replaces the ``~`` of ``--data_dir ~/data``, but not of
    ``--data_dir=~/data``, and no shell reads a configuration. The type of path
    arguments of a command line.

    Raises:
        UnknownHomeError: if there is no such home folder.
    """
    found = os.path.expanduser(os.fspath(path))
    if found.startswith("~") and not os.path.lexists(found):
        raise UnknownHomeError(
            f"{found!r} starts with the home folder of a user who does not exist here; "
            f"write the full path, or ./{found} for a name that starts with ~."
        )
    return _on_disk(pathlib.Path(), found)


def _on_disk(folder: pathlib.Path, path: str) -> str:
    """Spells the parts of a path in the Unicode forms in which they exist.

    macOS decomposes names: its "é" is two characters, and most other systems have one.
    """
    if path.isascii() or os.path.lexists(folder / path):
        return path
    found = pathlib.Path()
    for part in pathlib.Path(path).parts:
        forms = (part, *(unicodedata.normalize(f, part) for f in ("NFC", "NFD")))
        exist = (f for f in forms if os.path.lexists(folder / found / f))
        found /= next(exist, part)
    return str(found)


def inside(written: str, kind: type[pathlib.PurePath] = pathlib.PurePosixPath) -> str:
    """Normalizes a path below the manual directory.

    Symbolic links may lead anywhere, since a large folder of images is often a link.

    Args:
        written: the path in an annotation.
        kind: the system whose syntax it has.

    Raises:
        ValueError: if it is absolute, a URL or has "..".
    """
    path = kind(written)
    if path.anchor or ".." in path.parts or "://" in written:
        raise ValueError(
            f"{written!r} leads out of the manual directory; write a path "
            "relative to it, without '..'"
        )
    return path.as_posix()


def _as_posix(written: str, kind: type[pathlib.PurePath]) -> str:
    return kind(written).as_posix()


def find(
    folder: pathlib.Path,
    written: str,
    read: Callable[[str, type[pathlib.PurePath]], str] = _as_posix,
) -> str:
    r"""Returns a path in a file of a user, as the disk spells it.

    A path that does not exist is tried in another Unicode form, and as Windows reads
    it, with ``\`` for ``/``. A missing file keeps its path.

    Args:
        folder: the folder that the path is relative to.
        written: the path.
        read: reads it in the syntax of a system, and may refuse it.
    """
    path = read(written, pathlib.PurePosixPath)
    if path.isascii() and "\\" not in path and ":" not in path:
        return path  # A look-up is slow on a network disk.
    for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
        found = _on_disk(folder, read(written, kind))
        if os.path.lexists(folder / found):
            return found
    return path


def similar(path: pathlib.Path) -> str:
    """Returns the files that a missing file may be, as the end of a message.

    They differ in case or in their suffix: "IMG_1.JPG" or "img_1.png" for "img_1.jpg".
    """
    try:
        changed = path.parent.stat().st_mtime_ns
    except (OSError, ValueError):  # A null character is a ValueError.
        return f"; there is no folder {str(path.parent)!r}"
    near = _by_stem(path.parent, changed)[path.stem.casefold()]
    return f"; the folder has {', '.join(map(repr, near[:3]))}" if near else ""


@functools.lru_cache(maxsize=16)  # Thousands of files may be missing from one folder.
def _by_stem(folder: pathlib.Path, changed: int) -> dict[str, list[str]]:
    names = collections.defaultdict(list)
    for name in sorted(os.listdir(folder)):
        names[pathlib.PurePath(name).stem.casefold()].append(name)
    return names


class ManualFolder:
    """The manual directory, whose files annotations name."""

    def __init__(self, root: pathlib.Path, respelled: MutableMapping[str, str]):
        """Reads nothing yet.

        Args:
            root: the folder.
            respelled: receives each path that the disk spells differently.
        """
        self._root, self._respelled = root, respelled

    def find(self, written: str) -> str:
        """Returns the path of a file below the folder, see `find`.

        Raises:
            ValueError: if it leads out of the folder. The message names the file that
                seems to be meant.
        """
        try:
            found = find(self._root, written, inside)
        except ValueError as error:
            raise ValueError(f"{error}{self._meant(written)}") from error
        if found != inside(written):
            self._respelled[written] = found
        return found

    def _meant(self, written: str) -> str:
        """Returns the path of the file of the same name, as the end of a message.

        Label Studio writes paths of its own server, "/data/upload/1/a1b2c3-photo.jpg"
        or "/data/local-files/?d=photos%2F1.jpg", and puts a code before a file's name.
        """
        local = urllib.parse.unquote(written.rpartition("?d=")[2])
        name = pathlib.PureWindowsPath(local).name
        for called in (name, name.partition("-")[2]):
            found = self._by_name[unicodedata.normalize("NFC", called)]
            if len(found) == 1:
                return f"; {found[0]!r} has that name"
            if found:
                return f"; {len(found)} files have that name, such as {found[:2]}"
        return f"; no file below {self._root} has that name"

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        names = collections.defaultdict(list)
        for folder, _, files in os.walk(self._root):
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), self._root)
                names[unicodedata.normalize("NFC", name)].append(path)
        return names
