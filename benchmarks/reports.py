"""Writes results, with the versions that they depend on."""

import importlib.metadata
import json
import pathlib
import platform
from typing import Any


def write(path: str | pathlib.Path, record: Any) -> None:
    """Writes a result as JSON, in a folder that need not exist."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions of Python and of packages."""
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version()} | found
