"""Reads pickles of plain containers, text and numbers from untrusted files."""

import codecs
import pickle
from typing import Any

from tfds_builders.restricted_pickle import RestrictedUnpickler

# Opcodes of all protocols that make plain containers, text and numbers.
_PLAIN = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 "
    "LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 LIST EMPTY_LIST "
    "APPEND APPENDS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 DICT EMPTY_DICT SETITEM "
    "SETITEMS GLOBAL STACK_GLOBAL REDUCE PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET "
    "LONG_BINGET"
).split()


def _text(content: bytes) -> str:
    """Decodes UTF-8; other bytes become surrogates, which cannot be stored."""
    return content.decode("utf-8", errors="surrogateescape")


def _encode_latin1(text: str, encoding: str) -> str:
    """Replaces `_codecs.encode`, with which Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes something other than bytes")
    return _text(codecs.encode(text, "latin1"))


class _Memo:
    """Objects by number, in a list, since pickles count up from 0 or 1."""

    def __init__(self):
        self._row, self._others = [], {}

    def __len__(self):
        return len(self._row) + len(self._others)

    def __getitem__(self, number):
        in_row = 0 <= number < len(self._row)
        return self._row[number] if in_row else self._others[number]

    def __setitem__(self, number, value):
        if number == 1 and not self._row:
            self._row.append(None)  # This pickle counts from 1.
        if number == len(self._row):
            self._row.append(value)
        elif number < len(self._row):
            self._row[number] = value
        else:
            self._others[number] = value


class _PlainUnpickler(RestrictedUnpickler):
    """Turns bytes into text; equal strings share one object.

    Published files repeat most of their strings.
    """

    OPCODES = tuple(_PLAIN)
    NAMES = {("_codecs", "encode"): _encode_latin1}

    def __init__(self, content):
        super().__init__(content, encoding="utf-8", errors="surrogateescape")
        self.memo, self._words = _Memo(), {}

    def refuse(self, what):
        raise pickle.UnpicklingError(
            f"{what}; only plain lists, dicts, strings and numbers are allowed"
        )

    def _decode_string(self, value):
        return self._shared(super()._decode_string(value))

    def load_binunicode(self):
        super().load_binunicode()
        self.append(self._shared(self.stack.pop()))

    def load_short_binunicode(self):
        super().load_short_binunicode()
        self.append(self._shared(self.stack.pop()))

    def load_binbytes(self):
        super().load_binbytes()
        self.append(_text(self.stack.pop()))

    def load_short_binbytes(self):
        super().load_short_binbytes()
        self.append(_text(self.stack.pop()))

    def load_binbytes8(self):
        super().load_binbytes8()
        self.append(_text(self.stack.pop()))

    def _shared(self, text: str) -> str:
        return self._words.setdefault(text, text)


def load(content: bytes) -> Any:
    """Reads dicts with text for keys, lists, tuples, text and numbers.

    Bytes, the text of Python 2, become text. Bytes that are not UTF-8 become text that
    cannot be encoded.

    Args:
        content: the whole file.

    Raises:
        Exception: of nearly any type, if the pickle is damaged or holds other objects.
            No class or function that the pickle names is called.
    """
    return _PlainUnpickler(content).load()
