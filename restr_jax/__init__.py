"""ReSTR in JAX: referring image segmentation with transformers only (CVPR 2022)."""

__version__ = "0.1.0"
