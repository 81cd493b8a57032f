"""ReSTR in JAX: referring image segmentation with transformers only (CVPR 2022)."""

from typing import TYPE_CHECKING, Any

from restr_jax.version import __version__

if TYPE_CHECKING:
    from restr_jax.inference.encoded_image import EncodedImage
    from restr_jax.inference.prediction import Prediction
    from restr_jax.inference.segmenter import Segmenter, load

__all__ = ["EncodedImage", "Prediction", "Segmenter", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports names lazily: data workers import this file too and need no JAX."""
    if name in __all__:
        from restr_jax.inference import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists the lazy names too, for completion."""
    return sorted({*globals(), *__all__})
