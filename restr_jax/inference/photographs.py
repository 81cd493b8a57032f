"""Finds a user's photographs in folders and by patterns, and lists what it skips."""

import collections
import functools
import glob
import logging
import os
import pathlib

from PIL import Image

from restr_jax.data.photograph import refuse_url
from restr_jax.files import named
from restr_jax.inference import outputs

logger = logging.getLogger(__name__)

# Pillow reads others too, such as icons and scientific data.
_FORMATS = "AVIF BMP GIF JPEG JPEG2000 MPO PNG PPM TIFF WEBP".split()
# Folders that systems add: they hold thumbnails, or parts of other files.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
_HIDDEN, _OURS = "hidden, or of the system", "of an earlier prediction"
_MOST_NAMED = 10  # files of one reason


def find(given: str) -> list[pathlib.Path]:
    """Finds the photographs of a file name, a folder or a pattern.

    A folder is searched with all below, through links too; each folder counts once. In
    folders, a file is a photograph by its suffix, and a pattern may add one. The log
    lists all skipped files.

    Args:
        given: a file; a folder; or a pattern such as "photos/*.jpg", for files and
            folders.

    Returns:
        The paths, sorted; none for an earlier output or a folder of the system, which a
        shell may have added.

    Raises:
        FileNotFoundError: if there is no photograph.
        ValueError: if it is a URL.
    """
    refuse_url(given)
    path, search = pathlib.Path(given), _Search()
    for reason, is_so in (
        (_HIDDEN, path.name in _OF_SYSTEMS),
        (_OURS, outputs.is_output(path)),
    ):
        if is_so:
            logger.warning("skipped %s (%s)", given, reason)
            return []
    if path.is_file():
        return [path]
    if path.is_dir():
        search.in_folder(path)
    else:
        for match in sorted(glob.glob(given, recursive=True)):
            search.consider(pathlib.Path(match), path.suffix.lower())
    search.log_skipped(given)
    if not search.found:
        raise FileNotFoundError(f"There is no image {given}.")
    return sorted(search.found.values())


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns the suffixes of photographs in lower case, such as ".jpg" and ".jfif"."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in _FORMATS)


class _Search:
    """A search in folders.

    Attributes:
        found: paths by their real folder and their name, so that each counts once.
    """

    def __init__(self):
        self.found: dict[tuple[str, str], pathlib.Path] = {}
        self._skipped: dict[str, list[str]] = collections.defaultdict(list)
        self._folders: set[str] = set()
        self._listed = functools.cache(outputs.listed)

    def in_folder(self, folder: pathlib.Path) -> None:
        """Searches a folder; links come last, so that paths without links are found."""
        ahead = collections.deque([folder])
        while ahead:
            for top, below, files in os.walk(ahead.popleft(), onerror=self._unread):
                place, inside = os.path.realpath(top), pathlib.Path(top)
                if place in self._folders:
                    below.clear()
                    continue
                self._folders.add(place)
                for name in files:
                    self.consider(inside / name)
                for name in sorted(below):
                    if _is_hidden(name):
                        self._skip(_HIDDEN, inside / name)
                        below.remove(name)
                    elif self._is_to_follow(inside / name, place):
                        ahead.append(inside / name)
                below.sort()

    def _is_to_follow(self, path: pathlib.Path, place: str) -> bool:
        """Returns True for a link to a folder, unless it is above the link's place."""
        if not path.is_symlink():
            return False
        target = os.path.realpath(path)
        is_above = os.path.commonpath([place, target]) == target
        if is_above and target not in self._folders:
            self._skip("links to a folder above", path)
        return not is_above

    def consider(self, path: pathlib.Path, other_suffix: str = "") -> None:
        """Takes a photograph, searches a folder, or skips anything else.

        Args:
            path: the file or folder.
            other_suffix: a suffix of photographs beside the usual ones.
        """
        suffix = path.suffix.lower()
        if _is_hidden(path.name):
            self._skip(_HIDDEN, path)
        elif path.is_dir():
            self.in_folder(path)
        elif not path.is_file():
            self._skip("a broken link, or not a file", path)
        elif path.name in self._listed(path.parent) or outputs.is_output(path):
            self._skip(_OURS, path)
        elif not suffix or suffix not in {*suffixes(), other_suffix}:
            self._skip(f"no image: {suffix or 'without a suffix'}", path)
        else:
            self.found.setdefault((os.path.realpath(path.parent), path.name), path)

    def _unread(self, error: OSError) -> None:
        self._skip(f"not readable: {error.strerror}", error.filename)

    def _skip(self, reason: str, path: pathlib.Path | str) -> None:
        self._skipped[reason].append(str(path))

    def log_skipped(self, given: str) -> None:
        """Lists the skipped files and folders by reason."""
        for reason, paths in sorted(self._skipped.items()):
            some = named(sorted(paths), most=_MOST_NAMED)
            logger.warning("%s: skipped %d (%s): %s", given, len(paths), reason, some)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS
