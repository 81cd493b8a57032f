"""Python interface: masks of images for referring expressions.

    import restr_jax

    model = restr_jax.load("runs/gref")
    model.segment("photo.jpg", "the man on the left").save("mask.png")
    image = model.encode("photo.jpg")
    image.segment(["the man on the left", "the dog"])

An image is encoded once for all of its expressions.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any, overload

import jax
import numpy as np

from restr_jax import precision, shipped
from restr_jax.data import photograph, preprocess
from restr_jax.data.photograph import ImageLike
from restr_jax.files import named
from restr_jax.inference import inputs
from restr_jax.inference.encoded_image import EncodedImage
from restr_jax.inference.network import encode, only, segment
from restr_jax.inference.prediction import Prediction
from restr_jax.models import bound, parameters
from restr_jax.workdir import model_files
from restr_jax.workdir.model_files import Trained

logger = logging.getLogger(__name__)

_LARGEST_BATCH = 8  # images encoded in one pass


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
        self._reported: set[str] = set()  # unknown words
        self._dtype = precision.compute_dtype(dtype)
        self._params = jax.device_put(precision.cast(trained.params, self._dtype))
        self._encode = jax.jit(bound(encode, trained.model))
        self._segment = jax.jit(bound(segment, trained.model))

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        return tuple(self.trained.config.model.image_size)

    @property
    def name(self) -> str:
        """The name of a shipped or downloaded model, or the path of its files."""
        return self.trained.origin

    @property
    def domain(self) -> str:
        """The images and expressions that the model knows."""
        return self.trained.card.domain

    @property
    def trained_on(self) -> str:
        """The data that the model was trained on."""
        return self.trained.card.trained_on

    def __repr__(self) -> str:
        height, width = self.image_size
        vocabulary, params = self.trained.vocabulary, self.trained.params
        return (
            f"Segmenter({self.name}: {parameters.count(params):,} parameters, input "
            f"{width} x {height}, {len(vocabulary) - len(vocabulary.special):,} words; "
            f"trained on {self.trained_on}; knows {self.domain})"
        )

    @overload
    def encode(self, images: ImageLike) -> EncodedImage: ...

    @overload
    def encode(self, images: Sequence[ImageLike]) -> list[EncodedImage]: ...

    def encode(self, images: Any) -> EncodedImage | list[EncodedImage]:
        """Encodes one image, or several in as few passes as memory allows.

        Args:
            images: a path, a PIL image or an array (NumPy, JAX, PyTorch), uint8 RGB [H,
                W, 3]; or a list of them.

        Raises:
            FileNotFoundError: if a file does not exist.
            TypeError: if one is of another type, such as None or bytes.
            ValueError: if one is not an image, or a URL.
        """
        if inputs.is_one_image(images):
            return self._encode_several([images])[0]
        encoded: list[EncodedImage] = []
        images = list(images)
        while len(encoded) < len(images):
            left = len(images) - len(encoded)
            # A power of two, so that few programs are compiled and no batch is padded.
            count = min(_LARGEST_BATCH, 1 << (left.bit_length() - 1))
            encoded += self._encode_several(images[len(encoded) : len(encoded) + count])
        return encoded

    @overload
    def segment(
        self,
        image: EncodedImage | ImageLike,
        text: str,
        *,
        threshold: float | None = None,
    ) -> Prediction: ...

    @overload
    def segment(
        self,
        image: EncodedImage | ImageLike,
        text: Sequence[str],
        *,
        threshold: float | None = None,
    ) -> list[Prediction]: ...

    def segment(
        self, image: Any, text: Any, *, threshold: float | None = None
    ) -> Prediction | list[Prediction]:
        """Segments one or more texts in an image.

        To ask again about the same image, `encode` it once.

        Args:
            image: one image, as for `encode`, or an encoded one.
            text: see `EncodedImage.segment`.
            threshold: see `EncodedImage.segment`.

        Returns:
            A prediction, or a list of one for each text.

        Raises:
            FileNotFoundError: see `encode`.
            TypeError: see `encode` and `EncodedImage.segment`.
            ValueError: see `encode` and `EncodedImage.segment`.
        """
        threshold = self.threshold if threshold is None else threshold
        if not 0.0 < threshold < 1.0:
            raise ValueError(
                f"The threshold is {threshold}; it has to be between 0 and 1."
            )
        texts = inputs.list_texts(text)
        read = self.read_texts(texts)
        if not isinstance(image, EncodedImage):
            (image,) = self._encode_several([image])
        found = list(self._predict(image, texts, read, threshold))
        return found[0] if isinstance(text, str) else found

    def _predict(
        self, image: EncodedImage, texts: list[str], read: list[Any], threshold: float
    ) -> Iterator[Prediction]:
        # One after the other: one program serves any number, with bounded memory. All
        # are dispatched before the first is fetched.
        outputs = [
            self._segment(self._params, image._visual, tokens[None, None])
            for tokens, _, _ in read
        ]
        resize = self.trained.config.data.resize
        for text, (_, words, unknown), output in zip(texts, read, outputs, strict=True):
            arrays = only(jax.device_get(output), len(words), self._pads_left)
            yield Prediction(
                text, words, unknown, arrays, image.pixels, resize, threshold
            )

    def read_texts(
        self, texts: Sequence[str]
    ) -> list[tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]]:
        """Reads expressions, see `read_words`, and logs words that are not read.

        Unknown words are logged once each, and the words beyond the maximum number.

        Raises:
            TypeError: if one is not a str.
            ValueError: if one is empty, has no known word or is the path of an image.
        """
        read = [self.read_words(text) for text in inputs.list_texts(texts)]
        unknown = {word: None for _, _, words in read for word in words}
        new = [repr(word) for word in unknown if word not in self._reported]
        self._reported.update(unknown)
        for text, (_, words, _) in zip(texts, read, strict=True):
            count = len(self.trained.vocabulary.tokenize(text))
            if count > len(words):
                said = "%r has %d words, and only the first %d are read"
                logger.warning(said, text, count, len(words))
        if new:
            known = f"it knows {self.domain}"
            logger.warning("%s does not know %s; %s", self.name, named(new), known)
        return read

    def read_words(
        self, text: str
    ) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
        """Converts an expression into words and ids as the model does.

        Returns:
            int32 ids [L], the words, and those of them that the model does not know.

        Raises:
            ValueError: if the expression is empty or has no known word.
        """
        vocabulary = self.trained.vocabulary
        length = self.trained.config.data.max_words
        words = tuple(vocabulary.tokenize(text)[:length])
        try:
            tokens = vocabulary.encode_known(text, length)
        except ValueError as error:
            if not words:
                raise
            raise ValueError(f"{error} {self.name} knows {self.domain}.") from error
        return tokens, words, tuple(w for w in words if w not in vocabulary.ids)

    def warm_up(self) -> None:
        """Compiles the programs that the first image and expression would wait for."""
        # In reverse, since the first entries are not words.
        words = reversed(self.trained.vocabulary.words)
        known = next(word for word in words if word[:1].isalnum())
        blank = np.zeros((*self.image_size, 3), np.uint8)
        self.segment(blank, known)

    @property
    def _pads_left(self) -> bool:
        return self.trained.config.data.padding == "left"

    def _encode_several(self, images: Sequence[Any]) -> list[EncodedImage]:
        pixels = [photograph.to_pixels(image) for image in images]
        mode = self.trained.config.data.resize
        fitted = np.stack(
            [preprocess.fit_image(p, self.image_size, mode) for p in pixels]
        )
        visual = self._encode(self._params, fitted.astype(self._dtype))
        return [
            EncodedImage(self.segment, p, visual[i : i + 1])
            for i, p in enumerate(pixels)
        ]


def load(
    path: str | os.PathLike[str] = shipped.DEFAULT,
    *,
    checkpoint: str = "best",
    dtype: str = "auto",
) -> Segmenter:
    """Loads a trained model.

    Args:
        path: a workdir, WORKDIR/checkpoints/STEP, a folder of weights, one of the
            models that come with the package (`restr_jax.shipped`), or
            "hf://OWNER/NAME" (and "@REVISION") of the Hugging Face Hub.
        checkpoint: "best", "latest" or a step of a workdir; "best" is the latest if
            none was scored.
        dtype: the type of the computation: "float32", "bfloat16", or "auto", which is
            bfloat16 on GPU and TPU.

    Raises:
        FileNotFoundError: if there is no trained model.
        ModuleNotFoundError: if "hf://..." needs huggingface_hub.
        OSError: if a model cannot be downloaded.
        ValueError: if it is damaged, or of another version.
    """
    trained = model_files.read(path, checkpoint)
    domain = trained.card.domain
    logger.info("loaded the model %s, which knows %s", trained.origin, domain)
    return Segmenter(trained, dtype)
