"""The model of ReSTR (Section 3 of the paper), as flax.linen modules.

Dimension key, for the whole package:

    B  images in a batch              K  expressions per image
    H  image height, pixels           W  image width, pixels
    h  patch rows, H / P              w  patch columns, W / P
    P  patch side, pixels             N  patches, h * w
    L  words per expression           T  tokens of any sequence
    D  width of a token               E  width of a word vector
    M  attention heads                d  width of one head, D / M
    F  hidden width of an MLP         C  channels in the decoder
    V  words in the vocabulary

A leading ``*b`` in a signature stands for any number of batch axes.
"""

from restr_jax.models.decoder import Decoder
from restr_jax.models.fusion import FusionEncoder
from restr_jax.models.language import LanguageEncoder
from restr_jax.models.restr import ReSTR, Segmentation, build_model
from restr_jax.models.vision import VisionEncoder

__all__ = [
    "Decoder",
    "FusionEncoder",
    "LanguageEncoder",
    "ReSTR",
    "Segmentation",
    "VisionEncoder",
    "build_model",
]
