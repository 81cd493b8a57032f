"""Checks of user-written input: JSON, its fields and image orientation."""

import json
import pathlib
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from PIL import Image

from tfds_builders import images

# Maps a function over items in order, with a named progress bar.
InThreads = Callable[[Callable, Iterable, str], Iterator]

# The types of a field, and their description in error messages. A null counts as a
# missing field, unless NoneType is among the types.
Kind = tuple[tuple[type, ...], str]

TEXT: Kind = (str,), "text"
ID: Kind = (str, int), "text or a whole number"
FLAG: Kind = (bool,), "true or false"
PIXELS: Kind = (int,), "a whole number of pixels"
# Below 2**63, which ids may not reach.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


def parse_json(content: bytes):
    """Parses JSON in UTF-8, and refuses objects with repeated fields.

    Raises:
        ValueError: if it is not such JSON. The message has the line and column, but not
            the file.
    """
    try:
        # Some editors start a file with a byte order mark.
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
        ValueError: if two fields have the same name.
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
    """Returns the known fields of an entry that are not null, or may be.

    Ids and sizes become whole numbers where they stand for one, see `plain`.

    Raises:
        ValueError: if the entry is not an object, lacks a field or has a value of
            another type.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"it is {reprlib.repr(entry)}, expected {{...}}")
    kinds = required | optional
    given = {
        k: v
        for k, v in entry.items()
        if k in kinds and (v is not None or type(None) in kinds[k][0])
    }
    lacking = [field for field in required if field not in given]
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    for field, found in given.items():
        types, words = kinds[field]
        given[field] = value = plain(found, types)
        # bool is a subclass of int in Python.
        wrong = not isinstance(value, types)
        wrong |= isinstance(value, bool) and bool not in types
        # Larger integers can be chosen to collide as dict keys.
        if wrong or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError(f"its {field} is {reprlib.repr(found)}, expected {words}")
        if isinstance(value, str):
            _check_text(value)
    return given


def plain(value, types: tuple[type, ...] = ID[0]):
    """Returns the whole number that a value stands for, or else the value unchanged.

    Programs that pass through tables write a size as 48.0, and an id now as 12 and now
    as "12". "012" stays text: it may be the name of another thing than 12.

    Args:
        value: any value.
        types: the allowed types: those of an id, of a size, or others.
    """
    from_float = int in types and isinstance(value, float) and value.is_integer()
    from_text = types == ID[0] and isinstance(value, str) and _WHOLE.fullmatch(value)
    return int(value) if from_float or from_text else value


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can hold lone surrogates.
        raise ValueError(f"its text cannot be stored ({error})") from error


def unknown_fields(entry, known: Collection[str]) -> str:
    """Returns an error message for unknown fields of an entry, or ""."""
    if not isinstance(entry, dict):
        return ""
    unknown = [repr(field) for field in entry if field not in known]
    return f"unknown field {', '.join(unknown)}" if unknown else ""


def check_upright(path: pathlib.Path) -> None:
    """Checks that an image is stored upright.

    Raises:
        ValueError: if EXIF data rotate it for display. A mask drawn on the displayed
            image would not match the stored pixels.
    """
    try:
        with Image.open(path) as image:
            turn = images.orientation(image)
    except Exception as error:  # Pillow raises many types on damaged data.
        raise ValueError(
            f"it is truncated, or its EXIF data are damaged ({error})"
        ) from error
    if turn != 1:
        raise ValueError(
            f"it is stored rotated (EXIF orientation {turn}); save it upright, and "
            "draw its masks on the upright image"
        )
