"""Writing files so that a kill leaves the old one or the new one, never half of it."""

import pathlib


def write_whole(path: pathlib.Path, text: str) -> None:
    """Replaces a text file in one move."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
