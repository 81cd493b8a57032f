"""Python interface: masks of images for referring expressions.

    import restr_jax

    model = restr_jax.load("runs/gref")
    image = model.encode("photo.jpg")
    image.segment("the man on the left").mask

An image is encoded once for all of its expressions.
"""

import functools
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from restr_jax import precision, shipped
from restr_jax.data import masks, photograph, preprocess
from restr_jax.data.photograph import ImageLike
from restr_jax.models import bound, seed_attention
from restr_jax.workdir import model_files
from restr_jax.workdir.model_files import Trained

logger = logging.getLogger(__name__)

_LARGEST_BATCH = 8  # images encoded in one pass


class Prediction:
    """The prediction for one expression in one image.

    Arrays of the image's own size are computed on first access.

    Attributes:
        expression: the given text.
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
        expression: str,
        words: tuple[str, ...],
        unknown: tuple[str, ...],
        outputs: tuple[np.ndarray, np.ndarray, np.ndarray],
        size: tuple[int, int],
        resize: str,
        threshold: float,
    ):
        """Stores the logits of pixels and patches and the attention to words."""
        self.expression, self.words, self.unknown = expression, words, unknown
        self.threshold = threshold
        self._pixel_logits, patch_logits, self.word_attention = outputs
        self.patch_probability = masks.probability(patch_logits)
        self._size, self._resize = size, resize

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """float32 [H, W], at the image's own size."""
        return preprocess.restore(self._pixel_logits, self._size, self._resize)

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
    def score(self) -> float:
        """Mean probability of the mask's pixels, or the highest one if it is empty."""
        inside = self.probability[self.mask]
        return float(inside.mean() if self.found else self.probability.max())


class EncodedImage:
    """An image that has passed the vision encoder, the most expensive part.

    Attributes:
        pixels: uint8 RGB [H, W, 3], the image, upright.
    """

    def __init__(self, segmenter: "Segmenter", pixels: np.ndarray, visual: jax.Array):
        """Stores the image and its patch features z_v, [1, N, D]."""
        self.pixels = pixels
        self._segmenter, self._visual = segmenter, visual

    def segment(
        self, expressions: str | Sequence[str], *, threshold: float | None = None
    ) -> Prediction | list[Prediction]:
        """Segments one or more expressions in this image.

        Args:
            expressions: one text, or several.
            threshold: the minimum probability of a pixel in the mask; the
                configuration's by default.

        Returns:
            A prediction, or a list of one for each expression.

        Raises:
            ValueError: if an expression is empty or has no known word, or the threshold
                is not between 0 and 1.
        """
        one = isinstance(expressions, str)
        given = [expressions] if one else list(expressions)
        found = self._segmenter.segment(self, given, threshold)
        return found[0] if one else found


class Segmenter:
    """A trained model, compiled for any image and expression.

    Attributes:
        trained: the loaded model.
        threshold: the default minimum probability of a pixel in a mask.
    """

    def __init__(self, trained: Trained, dtype: str = "auto"):
        """Puts a model on the first device.

        Args:
            trained: a model from `model_files.read`.
            dtype: the type of the computation, as ``config.dtype``.
        """
        self.trained = trained
        self.threshold = float(trained.config.eval.thresholds[0])
        self._dtype = precision.compute_dtype(dtype)
        self._params = jax.device_put(precision.cast(trained.params, self._dtype))
        self._encode = jax.jit(bound(encode, trained.model))
        self._segment = jax.jit(bound(segment, trained.model))

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        return tuple(self.trained.config.model.image_size)

    def encode(
        self, images: ImageLike | Sequence[ImageLike]
    ) -> EncodedImage | list[EncodedImage]:
        """Encodes one image, or several in as few passes as memory allows.

        Args:
            images: a path, a PIL image or uint8 RGB [H, W, 3]; or a list of them.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if one is not an image.
        """
        if isinstance(images, ImageLike):
            return self._encode_several([images])[0]
        encoded: list[EncodedImage] = []
        images = list(images)
        while len(encoded) < len(images):
            left = len(images) - len(encoded)
            # A power of two, so that few programs are compiled and no batch is padded.
            count = min(_LARGEST_BATCH, 1 << (left.bit_length() - 1))
            encoded += self._encode_several(images[len(encoded) : len(encoded) + count])
        return encoded

    def segment(
        self,
        image: EncodedImage,
        expressions: Sequence[str],
        threshold: float | None = None,
    ) -> list[Prediction]:
        """Segments expressions in an encoded image, see `EncodedImage.segment`."""
        threshold = self.threshold if threshold is None else threshold
        if not 0.0 < threshold < 1.0:
            raise ValueError(
                f"The threshold is {threshold}; it has to be between 0 and 1."
            )
        read = [self.read_words(sentence) for sentence in expressions]
        # One after the other: one program serves any number, with bounded memory. All
        # are dispatched before the first is fetched.
        outputs = [
            self._segment(self._params, image._visual, tokens[None, None])
            for tokens, _, _ in read
        ]
        return [
            Prediction(
                sentence,
                words,
                unknown,
                _only(jax.device_get(output), len(words), self._pads_left),
                image.pixels.shape[:2],
                self.trained.config.data.resize,
                threshold,
            )
            for sentence, (_, words, unknown), output in zip(
                expressions, read, outputs, strict=True
            )
        ]

    def read_words(
        self, sentence: str
    ) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
        """Converts an expression into words and ids as the model does.

        Returns:
            int32 ids [L], the words, and those of them that the model does not know.

        Raises:
            ValueError: if the expression is empty or has no known word.
        """
        vocabulary = self.trained.vocabulary
        length = self.trained.config.data.max_words
        tokens = vocabulary.encode_known(sentence, length)
        words = tuple(vocabulary.tokenize(sentence)[:length])
        return tokens, words, tuple(w for w in words if w not in vocabulary.ids)

    def warm_up(self) -> None:
        """Compiles the programs that the first image and expression would wait for."""
        # In reverse, since the first entries are not words.
        words = reversed(self.trained.vocabulary.words)
        known = next(word for word in words if word[:1].isalnum())
        blank = np.zeros((*self.image_size, 3), np.uint8)
        self.segment(self.encode(blank), [known])

    @property
    def _pads_left(self) -> bool:
        return self.trained.config.data.padding == "left"

    def _encode_several(self, images: Sequence[ImageLike]) -> list[EncodedImage]:
        pixels = [photograph.to_pixels(image) for image in images]
        mode = self.trained.config.data.resize
        fitted = np.stack(
            [preprocess.fit_image(p, self.image_size, mode) for p in pixels]
        )
        visual = self._encode(self._params, fitted.astype(self._dtype))
        return [EncodedImage(self, p, visual[i : i + 1]) for i, p in enumerate(pixels)]


def encode(model, params: Any, image):
    """Encodes normalised images [B, H, W, 3] into patch features [B, N, D]."""
    return model.apply(
        {"params": params}, image, deterministic=True, method=model.encode_image
    )


def segment(model, params: Any, visual, tokens):
    """Segments tokens [B, K, L] in patch features [B, N, D].

    Returns:
        float32 logits of pixels [B, K, H, W] and patches [B, K, h, w], and the shares
        of the L word positions in the class seed's attention, [B, K, L].
    """

    def run(module, visual, tokens):
        words, word_mask = module.encode_text(tokens, deterministic=True)
        return module.segment(visual, words, word_mask, deterministic=True)

    output, captured = model.apply(
        {"params": params}, visual, tokens, method=run, mutable=["intermediates"]
    )
    attention = seed_attention.of_words(model, captured, tokens)
    return output.pixel_logits, output.patch_logits, attention


def _only(output: tuple, count: int, pads_left: bool) -> tuple:
    """Extracts the single expression of the single image, without word padding."""
    pixels, patches, attention = (np.asarray(x[0, 0], np.float32) for x in output)
    attention = attention[-count:] if pads_left else attention[:count]
    return pixels, patches, attention


def load(
    path: str | pathlib.Path = shipped.DEFAULT,
    *,
    checkpoint: str = "best",
    dtype: str = "auto",
) -> Segmenter:
    """Loads a trained model.

    Args:
        path: a workdir, WORKDIR/checkpoints/STEP, a folder of weights, or one of the
            models that come with the package (`restr_jax.shipped`).
        checkpoint: "best", "latest" or a step of a workdir; "best" is the latest if
            none was scored.
        dtype: the type of the computation: "float32", "bfloat16", or "auto", which is
            bfloat16 on GPU and TPU.

    Raises:
        FileNotFoundError: if there is no trained model.
        ValueError: if it is damaged, or of another version.
    """
    trained = model_files.read(path, checkpoint)
    logger.info("loaded the model %s", trained.origin)
    return Segmenter(trained, dtype)
