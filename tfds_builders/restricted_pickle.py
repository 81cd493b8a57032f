"""Reads pickles from untrusted files; a subclass lists what a format allows.

The base is pickle's reader in Python. In the C reader, ten bytes of a file can allocate
any amount of memory, and keys of nested tuples can take any time to hash.
"""

import io
import pickle
from collections.abc import Mapping
from typing import Any, NoReturn


class RestrictedUnpickler(pickle._Unpickler):
    """Unpickles what a subclass allows; methods override those of the base class.

    No class or function that a pickle names is imported.

    Attributes:
        OPCODES: names of the allowed opcodes.
        NAMES: replacements of the allowed classes and functions, by module and name.
        KEYS: allowed types of the keys of dicts.
    """

    OPCODES: tuple[str, ...] = ()
    NAMES: Mapping[tuple[str, str], Any] = {}
    KEYS: tuple[type, ...] = (str,)

    def __init__(self, content: bytes, **options):
        """Prepares to read a whole file, so that no length in it allocates memory."""
        super().__init__(io.BytesIO(content), **options)

    def __init_subclass__(cls):
        """Maps the allowed opcodes to their methods."""
        cls.dispatch = dict.fromkeys(range(256), cls.load_refused)
        for name in cls.OPCODES:
            code = getattr(pickle, name)[0]
            load = pickle._Unpickler.dispatch[code]
            cls.dispatch[code] = getattr(cls, load.__name__)

    def refuse(self, what: str) -> NoReturn:
        """Raises the error for something that is not allowed."""
        raise pickle.UnpicklingError(what)

    def load_refused(self):
        """Reads an operation that is not allowed."""
        self.refuse("It has an operation that is not allowed")

    def find_class(self, module, name):
        """Returns the replacement of a class or function."""
        if (module, name) not in self.NAMES:
            self.refuse(f"It refers to {module}.{name}")
        return self.NAMES[module, name]

    def load_dict(self):
        """See the base class."""
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def load_setitem(self):
        """See the base class."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self):
        """See the base class."""
        self._set(self.pop_mark())

    def _set(self, items):
        keys, target = items[::2], self.stack[-1]
        if type(target) is not dict or not all(type(key) in self.KEYS for key in keys):
            self.refuse("It has a key of another type")
        target.update(zip(keys, items[1::2], strict=True))
