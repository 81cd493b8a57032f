"""Reads pickles of plain containers, text and numbers from untrusted files.

The base is pickle's reader in Python. In the C reader, ten bytes of a file can allocate
any amount of memory, and keys of nested tuples can take any time to hash.
"""

import codecs
import collections
import io
import pickle
from typing import Any

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


class _PlainUnpickler(pickle._Unpickler):
    """Unpickles allowed objects; methods override those of the base class.

    Equal strings share one object, because published files repeat most of theirs.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.memo, self._words = _Memo(), {}

    def _decode_string(self, value):
        text = super()._decode_string(value)
        return self._words.setdefault(text, text)

    def load_binunicode(self):
        super().load_binunicode()
        self.stack[-1] = self._words.setdefault(self.stack[-1], self.stack[-1])

    def load_short_binunicode(self):
        super().load_short_binunicode()
        self.stack[-1] = self._words.setdefault(self.stack[-1], self.stack[-1])

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        self.load_refused(f"it refers to {module}.{name}")

    def load_refused(self, what="it has an opcode that is not allowed"):
        raise pickle.UnpicklingError(
            f"{what}; only plain lists, dicts, strings and numbers are allowed"
        )

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self):
        self._set(self.pop_mark())

    def _set(self, items):
        keys, target = items[::2], self.stack[-1]
        if type(target) is not dict or not all(type(key) is str for key in keys):
            self.load_refused("it has a key that is not text")
        target.update(zip(keys, items[1::2], strict=True))

    def load_binbytes(self):
        super().load_binbytes()
        self.append(_text(self.stack.pop()))

    def load_short_binbytes(self):
        super().load_short_binbytes()
        self.append(_text(self.stack.pop()))

    def load_binbytes8(self):
        super().load_binbytes8()
        self.append(_text(self.stack.pop()))


_PlainUnpickler.dispatch = collections.defaultdict(
    lambda: _PlainUnpickler.load_refused,
    {
        code: getattr(_PlainUnpickler, load.__name__)
        for code, load in pickle._Unpickler.dispatch.items()
        if code in b"".join(getattr(pickle, name) for name in _PLAIN)
    },
)


def load(content: bytes) -> Any:
    """Reads dicts with text for keys, lists, tuples, text and numbers.

    Bytes, the text of Python 2, become text. Bytes that are not UTF-8 become text that
    cannot be encoded.

    Args:
        content: the whole file, so that lengths in it cannot allocate more memory.

    Raises:
        Exception: of nearly any type, if the pickle is damaged or holds other objects.
            No class or function that the pickle names is called.
    """
    how = {"encoding": "utf-8", "errors": "surrogateescape"}
    return _PlainUnpickler(io.BytesIO(content), **how).load()
