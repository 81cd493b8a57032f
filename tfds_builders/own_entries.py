"""Checks of what users write by hand: JSON, its fields, paths and photographs."""

import json
import pathlib
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from PIL import ExifTags, Image

# Maps a function over items in order, and shows progress under a name.
InThreads = Callable[[Callable, Iterable, str], Iterator]

# What a field may hold: its types, and how to say so.
Kind = tuple[tuple[type, ...], str]

TEXT: Kind = (str,), "text"
ID: Kind = (str, int), "text or a whole number"
PIXELS: Kind = (int,), "a number of pixels"


def parse_json(content: bytes):
    """Parses JSON in UTF-8, in which no object has two fields of one name.

    Raises:
        ValueError: if it is something else; says where, not in which file.
    """
    try:
        # Some editors begin a file with a mark of its encoding.
        text = content.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=without_repeats)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(
            f"it is not JSON ({error.msg}: {line}column {error.colno})"
        ) from error
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error


def without_repeats(pairs: list[tuple]) -> dict:
    """Makes a dict of the fields of a JSON object.

    Raises:
        ValueError: if two have one name.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"it has the field {twice!r} twice")
    return fields


def check_fields(
    entry, required: dict[str, Kind], optional: dict[str, Kind]
) -> dict[str, str | int | list | dict]:
    """Returns the known fields of an entry that are not null.

    Raises:
        ValueError: if the entry is no object, lacks a field or holds something else.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"it is {reprlib.repr(entry)}, expected {{...}}")
    kinds = required | optional
    given = {k: v for k, v in entry.items() if k in kinds and v is not None}
    lacking = [field for field in required if field not in given]
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    for field, value in given.items():
        types, words = kinds[field]
        # To Python, True is a whole number.
        wrong = not isinstance(value, types) or isinstance(value, bool)
        # Larger ones can be chosen so that a dict of them takes forever.
        if wrong or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError(f"its {field} is {reprlib.repr(value)}, expected {words}")
        if isinstance(value, str):
            _check_text(value)
    return given


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a character.
        raise ValueError(f"its text cannot be stored ({error})") from error


def unknown_fields(entry, known: Collection[str]) -> str:
    """Says which fields of an entry are unknown, or ""."""
    if not isinstance(entry, dict):
        return ""
    unknown = [repr(field) for field in entry if field not in known]
    return f"unknown field {', '.join(unknown)}" if unknown else ""


def inside(written: str) -> str:
    """Returns a path below the manual directory, without "./" and the like.

    Links are followed wherever they lead: a large folder of images is often one.

    Raises:
        ValueError: if it is absolute or goes up.
    """
    path = pathlib.PurePosixPath(written)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"{written!r} leads out of the manual directory; write the path from "
            "there, without '..'"
        )
    return str(path)


def check_upright(path: pathlib.Path) -> None:
    """Checks that a photograph is not turned when it is shown.

    Raises:
        ValueError: if it is; what was drawn on it upright lies elsewhere in the file.
    """
    try:
        with Image.open(path) as image:
            # Pillow would search a whole file for EXIF data that its head has not.
            has_exif = "exif" in image.info
            turn = image.getexif().get(ExifTags.Base.Orientation, 1) if has_exif else 1
    except Exception as error:  # Pillow raises many kinds on damaged data.
        raise ValueError(f"its EXIF data cannot be read ({error})") from error
    if turn != 1:
        raise ValueError(
            f"it is stored turned (EXIF orientation {turn}); save it upright, and draw "
            "its masks on that"
        )
