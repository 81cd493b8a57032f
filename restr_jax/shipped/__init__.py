"""The trained models that come with the package, a folder of weights each."""

import pathlib

NAMES = ("photos", "shapes")
DEFAULT = NAMES[0]


def folder(name: str) -> pathlib.Path:
    """Returns the folder of a model, one of `NAMES`."""
    return pathlib.Path(__file__).parent / name
