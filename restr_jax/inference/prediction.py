"""The result for one expression in one image, and its forms for files and pages."""

import copy
import functools
import os
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from restr_jax.data import masks, preprocess
from restr_jax.drawing import overlay
from restr_jax.files import output_file
from restr_jax.inference import outputs


class Prediction:
    """The prediction for one expression in one image.

    Arrays of the image's own size are computed on first access. A notebook shows the
    overlay.

    Attributes:
        text: the given expression.
        words: the words as the model reads them, truncated to its maximum number.
        unknown: those words that the model does not know.
        word_attention: float32 [words], the shares of the words in the class seed's
            attention, averaged over its layers and heads; they sum to 1.
        patch_probability: float32 [h, w], Eq. 9: each patch's probability to be part
            of the mask, over the network's whole input.
        threshold: the minimum probability of a pixel in the mask.
    """

    def __init__(
        self,
        text: str,
        words: tuple[str, ...],
        unknown: tuple[str, ...],
        outputs: tuple[np.ndarray, np.ndarray, np.ndarray],
        pixels: np.ndarray,
        resize: str,
        threshold: float,
    ):
        """Stores the logits of pixels and patches, and the attention to words.

        Args:
            text: the given expression.
            words: see the attributes.
            unknown: see the attributes.
            outputs: logits of pixels and patches, and the attention to words.
            pixels: uint8 RGB [H, W, 3], the image.
            resize: as ``config.data.resize``.
            threshold: see the attributes.
        """
        self.text, self.words, self.unknown = text, words, unknown
        self.threshold = threshold
        self._pixel_logits, patch_logits, self.word_attention = outputs
        self.patch_probability = masks.probability(patch_logits)
        self._pixels, self._resize = pixels, resize

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """float32 [H, W], at the image's own size."""
        size = self._pixels.shape[:2]
        return preprocess.restore(self._pixel_logits, size, self._resize)

    @functools.cached_property
    def probability(self) -> np.ndarray:
        """float32 [H, W] in [0, 1], at the image's own size."""
        return masks.probability(self.logits)

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """Boolean [H, W], at the image's own size."""
        return masks.to_mask(self.logits, self.threshold)

    @property
    def found(self) -> bool:
        """True if any pixel is in the mask; otherwise nothing fits the expression."""
        return bool(self.mask.any())

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(self.mask.sum())

    @property
    def highest(self) -> float:
        """The highest probability of any pixel, even if nothing is found."""
        return float(self.probability.max())

    @property
    def score(self) -> float:
        """Mean probability of the mask's pixels, or the highest one if it is empty."""
        return float(self.probability[self.mask].mean()) if self.found else self.highest

    def at(self, threshold: float) -> "Prediction":
        """Returns this prediction with the mask of another threshold."""
        other = copy.copy(self)
        other.threshold = threshold
        vars(other).pop("mask", None)  # The mask of the old threshold.
        return other

    def overlay(self) -> Image.Image:
        """Draws the mask on the image, with an outline."""
        return Image.fromarray(overlay.draw(self._pixels, [self.mask]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the mask, 0 or 255, as a PNG file of the image's own size.

        Args:
            path: a file whose name ends in .png. An unchanged earlier mask is written
                over, any other file is not.

        Raises:
            ValueError: if the name has another suffix, or the file is the user's.
        """
        file = output_file(os.fspath(path), ".png")
        outputs.check_free([file])
        file.parent.mkdir(parents=True, exist_ok=True)
        outputs.write(file, self.mask)

    def to_dict(self) -> dict[str, Any]:
        """Returns values for JSON: a line of predictions.jsonl without file names."""
        return {
            "expression": self.text,
            "unknown_words": list(self.unknown),
            "found": self.found,
            "area": self.area,
            "score": self.score,
            "threshold": self.threshold,
            "mask": masks.to_rle(self.mask),
        }

    def to_coco(self) -> dict[str, Any]:
        """Returns a result in COCO's format; add its image_id and category_id.

        Returns:
            segmentation, an RLE with its counts as text; bbox, [x, y, width, height]
            in pixels; area, pixels; score.
        """
        rle = masks.to_rle(self.mask)
        return {
            "segmentation": rle,
            "bbox": mask_util.toBbox(rle).tolist(),
            "area": self.area,
            "score": self.score,
        }

    def __repr__(self) -> str:
        if not self.found:
            return (
                f"Prediction({self.text!r}: nothing found; the highest probability is "
                f"{self.highest:.2f}, below {self.threshold:.2f})"
            )
        return (
            f"Prediction({self.text!r}: {self.area:,} pixels, {self.mask.mean():.1%} "
            f"of the image, score {self.score:.2f})"
        )

    def _repr_png_(self) -> bytes:
        return overlay.to_png(self.overlay())
