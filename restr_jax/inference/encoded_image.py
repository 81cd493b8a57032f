"""An image that has passed the vision encoder."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import numpy as np
from PIL import Image

from restr_jax.drawing import overlay
from restr_jax.inference.prediction import Prediction


class EncodedImage:
    """An image that has passed the vision encoder, the most expensive part.

    A notebook shows the image.

    Attributes:
        pixels: uint8 RGB [H, W, 3], the image, upright.
    """

    def __init__(self, segment: Callable, pixels: np.ndarray, visual: jax.Array):
        """Stores the image, its patch features z_v, [1, N, D], and their model.

        Args:
            segment: `Segmenter.segment` of the model.
            pixels: see the attributes.
            visual: the patch features.
        """
        self.pixels = pixels
        self._segment, self._visual = segment, visual

    @overload
    def segment(self, text: str, *, threshold: float | None = None) -> Prediction: ...

    @overload
    def segment(
        self, text: Sequence[str], *, threshold: float | None = None
    ) -> list[Prediction]: ...

    def segment(
        self, text: Any, *, threshold: float | None = None
    ) -> Prediction | list[Prediction]:
        """Segments one or more texts in this image.

        Args:
            text: one text, or a list of them.
            threshold: the minimum probability of a pixel in the mask; the
                configuration's by default.

        Returns:
            A prediction, or a list of one for each text.

        Raises:
            TypeError: if a text is not a str.
            ValueError: if a text is empty, has no known word or is the path of an
                image, or the threshold is not between 0 and 1.
        """
        return self._segment(self, text, threshold=threshold)

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"EncodedImage({width} x {height} pixels)"

    def _repr_png_(self) -> bytes:
        return overlay.to_png(Image.fromarray(self.pixels))
