"""The version, apart from everything that imports it."""

__version__ = "0.1.0"
