"""ReSTR in JAX: referring image segmentation with transformers only (CVPR 2022)."""

from typing import TYPE_CHECKING, Any

from restr_jax.version import __version__

if TYPE_CHECKING:
    from restr_jax.inference.segmenter import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports `load` lazily: data workers import this file too and need no JAX."""
    if name == "load":
        from restr_jax.inference.segmenter import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
