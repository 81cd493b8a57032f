"""Digests of weights, data and code, which make two scores comparable."""

import hashlib
import pathlib
import subprocess
from collections.abc import Iterable
from typing import Any

import numpy as np

from restr_jax.data.splits import Split
from restr_jax.models import parameters
from restr_jax.version import __version__


def of_params(params: Any) -> str:
    """Returns a digest of parameter values.

    Args:
        params: a tree of NumPy arrays.

    Returns:
        16 hexadecimal digits.
    """
    flat = parameters.flatten(params)
    parts: list[bytes] = []
    for path, array in sorted(flat.items()):
        parts += [f"{path} {array.dtype} {array.shape}".encode(), array.tobytes()]
    return _digest(parts)


def of_split(split: Split) -> str:
    """Returns a digest of a split: its images, masks, expressions and their ids.

    Returns:
        16 hexadecimal digits.
    """

    def parts() -> Iterable[bytes]:
        for i, sentences in enumerate(split.sentences):
            record = split.source[i]
            objects, expressions = record["objects"], record["expressions"]
            yield from (record["image_id"], record["image"])
            yield from (*objects["object_id"], *objects["mask"])
            yield np.asarray(expressions["object"], np.int64).tobytes()
            yield from expressions["sent_id"]
            yield from (sentence.encode() for sentence in sentences)

    return _digest(parts())


def of_code() -> str:
    """Returns the version of this package, with the commit if in a git checkout."""
    checkout = pathlib.Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return __version__
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+{said.stdout.strip()}"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]
