"""Loads a model from `restr export`, which segments objects named in a text.

import restr_exported
model = restr_exported.load("folder")
prediction = model.segment(pixels, ["the red circle"])[0]
prediction.mask

This file and restr_text.py lie beside the exported programs. They need NumPy and a
runtime for the programs: jax and flatbuffers (StableHLO), or onnxruntime (ONNX).
"""

import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from restr_text import Vocabulary

_FIELDS = {"files", "image_size", "max_words", "resize", "threshold"}
_FIELDS |= {"tokenizer", "padding"}
_DAMAGED = (
    "{} is damaged: it differs from the exported file. Copy it again, or export the "
    "model again."
)
OUTPUTS = ("pixel_logits", "patch_logits", "word_attention")

Size = tuple[int, int]  # (height, width), pixels


class Prediction(NamedTuple):
    """The prediction for one expression.

    Attributes:
        mask: boolean [H, W], at the image's own size.
        probability: float32 [H, W] in [0, 1], at the same size.
    """

    mask: np.ndarray
    probability: np.ndarray


class Model:
    """An exported model.

    Attributes:
        about: the content of restr.json.
        vocabulary: its words.
        image_size: height and width of the network's input, pixels.
    """

    def __init__(
        self, about: dict, vocabulary: Vocabulary, encode: Callable, run: Callable
    ):
        """Internal; use `load`."""
        self.about, self.vocabulary = about, vocabulary
        self.image_size: Size = tuple(about["image_size"])
        self._encode, self._run = encode, run

    def segment(
        self,
        image: np.ndarray,
        sentences: Sequence[str],
        threshold: float | None = None,
    ) -> list[Prediction]:
        """Segments the object that each expression refers to.

        Args:
            image: uint8 RGB [H, W, 3], of any size.
            sentences: the referring expressions.
            threshold: least probability of a pixel in the mask; by default, the
                configuration's.

        Returns:
            A prediction for each expression.

        Raises:
            ValueError: if the image has another dtype or shape, `sentences` is a
                string, an expression is empty or has no word that the model knows, or
                the threshold is not between 0 and 1.
        """
        threshold = self.about["threshold"] if threshold is None else threshold
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"The threshold is {threshold}; choose one in (0, 1).")
        if isinstance(sentences, str):
            raise ValueError(
                f"Pass a list of expressions, not the string {sentences!r}."
            )
        tokens = [self.read_words(sentence) for sentence in sentences]
        visual = self.encode(self.fit(image)[None])
        # One at a time: one program serves any number, and memory is bounded.
        logits = [self.run(visual, t[None, None])["pixel_logits"] for t in tokens]
        restored = [self.restore(np.asarray(x)[0, 0], image.shape[:2]) for x in logits]
        cut = np.log(threshold) - np.log1p(-threshold)
        # The logistic function, without overflow.
        return [Prediction(x >= cut, 0.5 + 0.5 * np.tanh(0.5 * x)) for x in restored]

    def encode(self, images: np.ndarray) -> Any:
        """Encodes a batch of images, the costliest part.

        Args:
            images: float32 [b, H, W, 3], each from `fit`.

        Returns:
            float32 patch features [b, N, D], an array of the runtime.

        Raises:
            ValueError: if they have another dtype or shape.
        """
        wanted = (*self.image_size, 3)
        if images.dtype != np.float32 or images.shape[1:] != wanted:
            raise ValueError(
                f"The images are {images.dtype} {list(images.shape)}, not float32 "
                f"[b, {', '.join(map(str, wanted))}]; prepare them with fit()."
            )
        return self._encode(images)

    def run(self, visual: Any, tokens: np.ndarray) -> dict[str, Any]:
        """Segments k expressions in each of b encoded images.

        Args:
            visual: float32 [b, N, D], from `encode`.
            tokens: int32 [b, k, L], each row from `read_words`.

        Returns:
            float32 "pixel_logits" [b, k, H, W] and "patch_logits" [b, k, h, w], and
            "word_attention" [b, k, L], the distribution of the class seed's attention
            over the words.

        Raises:
            ValueError: if the tokens have another dtype or shape.
        """
        length = self.about["max_words"]
        if tokens.dtype != np.int32 or tokens.shape[2:] != (length,):
            raise ValueError(
                f"The tokens are {tokens.dtype} {list(tokens.shape)}, not int32 "
                f"[b, k, {length}]; make their rows with read_words()."
            )
        return dict(zip(OUTPUTS, self._run(visual, tokens), strict=True))

    def read_words(self, sentence: str) -> np.ndarray:
        """Converts an expression to int32 token ids [L].

        Raises:
            ValueError: if it is empty or has no word that the model knows.
        """
        return self.vocabulary.encode_known(sentence, self.about["max_words"])

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Resizes and normalises an image for `encode`.

        Args:
            image: uint8 RGB [H, W, 3], of any size.

        Returns:
            float32 [H, W, 3] in [-1, 1]; the padding of a letterbox is 0, mid-grey.

        Raises:
            ValueError: if it has another dtype or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"The image is {image.dtype} {list(image.shape)}; convert it to uint8 "
                "RGB [H, W, 3]."
            )
        mode = self.about["resize"]
        top, left, height, width = _inner_box(image.shape[:2], self.image_size, mode)
        channels = np.moveaxis(image, 2, 0)
        if mode == "released":
            resized = _resize(channels.astype(np.float32), (height, width), False)
        else:
            resized = _resize(channels, (height, width), True)
        inside = np.moveaxis(resized, 0, 2).astype(np.float32) - np.float32(127.5)
        fitted = np.zeros((*self.image_size, 3), np.float32)
        fitted[top : top + height, left : left + width] = inside * np.float32(1 / 127.5)
        return fitted

    def restore(self, logits: np.ndarray, size: Size) -> np.ndarray:
        """Restores logits [H, W] to the size of the image, float32."""
        mode = self.about["resize"]
        if mode == "released":  # One scale for both axes, then a centre crop.
            scale = max(size[0] / logits.shape[0], size[1] / logits.shape[1])
            height, width = (round(side * scale) for side in logits.shape)
            enlarged = _resize(logits, (height, width), False)
            top, left = (height - size[0]) // 2, (width - size[1]) // 2
            return enlarged[top : top + size[0], left : left + size[1]]
        top, left, height, width = _inner_box(size, logits.shape, mode)
        return _resize(logits[top : top + height, left : left + width], size, True)


def _inner_box(original: Size, target: Size, mode: str) -> tuple[int, int, int, int]:
    """Returns the box of an image in the input: (top, left, height, width)."""
    if mode == "stretch":
        return 0, 0, *target
    scale = min(target[0] / original[0], target[1] / original[1])
    height, width = (max(1, round(scale * side)) for side in original)
    return (target[0] - height) // 2, (target[1] - width) // 2, height, width


def _resize(x: np.ndarray, size: Size, blur: bool) -> np.ndarray:
    """Resizes [..., H, W] bilinearly, half-pixel centres.

    Args:
        x: float32; or uint8, which is rounded after each axis, as in Pillow.
        size: output size.
        blur: when shrinking, each pixel is a mean of all that it covers, as in Pillow;
            if false, it is interpolated from its neighbours alone.
    """
    x = _resize_last(x, size[1], blur)
    return _resize_last(x.swapaxes(-1, -2), size[0], blur).swapaxes(-1, -2)


def _resize_last(x: np.ndarray, new_size: int, blur: bool) -> np.ndarray:
    size = x.shape[-1]
    step = size / new_size
    reach = max(step, 1.0) if blur else 1.0
    centres = (np.arange(new_size)[:, None] + 0.5) * step
    # A row for each new pixel: its source positions and their weights.
    places = np.floor(centres - reach).astype(int) + np.arange(int(2 * reach) + 2)
    weights = np.maximum(0.0, 1.0 - np.abs(places + 0.5 - centres) / reach)
    weights[(places < 0) | (places >= size)] = 0.0
    weights /= weights.sum(1, keepdims=True)
    places = places.clip(0, size - 1)
    if x.dtype == np.uint8:  # Pillow's weights are multiples of 2^-22.
        weights = np.rint(weights * 2**22) / 2**22
        return np.floor(_mix(x, places, weights) + 0.5).astype(np.uint8)
    return _mix(x, places, weights.astype(x.dtype))


def _mix(x: np.ndarray, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return sum(x[..., p] * w for p, w in zip(places.T, weights.T, strict=True))


def load(folder: str | pathlib.Path) -> Model:
    """Loads an exported model.

    Args:
        folder: output folder of `restr export`.

    Raises:
        FileNotFoundError: if a file is missing.
        ImportError: if the runtime of the programs is not installed.
        ValueError: if a file is damaged, or in a format that this loader cannot read.
    """
    folder = pathlib.Path(folder)
    about = _read_about(folder / "restr.json")
    for name, digest in about["files"].items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ValueError(_DAMAGED.format(folder / name))
    vocabulary = Vocabulary.load(
        folder / "vocabulary.txt", about["tokenizer"], about["padding"]
    )
    return Model(about, vocabulary, *_RUNNERS[about["format"]](folder))


def _read_about(path: pathlib.Path) -> dict:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # Not UTF-8, or not JSON.
        raise ValueError(_DAMAGED.format(path)) from error
    if not isinstance(about, dict) or "format" not in about:
        raise ValueError(_DAMAGED.format(path))
    if about["format"] not in tuple(_RUNNERS):
        raise ValueError(
            f"{path.parent} has the format {about['format']!r}, not one of "
            f"{tuple(_RUNNERS)}; use the restr_exported.py in that folder."
        )
    if not about.keys() >= _FIELDS:
        raise ValueError(_DAMAGED.format(path))
    return about


def _with_jax(folder: pathlib.Path) -> tuple[Callable, Callable]:
    import jax
    from jax import export

    with np.load(folder / "weights.npz") as weights:
        params = jax.device_put(dict(weights))
    programs = (
        export.deserialize(bytearray((folder / f"{name}.stablehlo").read_bytes()))
        for name in ("encode", "segment")
    )
    encode, run = (jax.jit(program.call) for program in programs)
    return functools.partial(encode, params), functools.partial(run, params)


def _with_onnxruntime(folder: pathlib.Path) -> tuple[Callable, Callable]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in available]
    encoder, segmenter = (
        onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=providers)
        for name in ("encode", "segment")
    )

    def encode(images):
        return encoder.run(None, {"images": images})[0]

    def run(visual, tokens):
        return segmenter.run(OUTPUTS, {"visual": visual, "tokens": tokens})

    return encode, run


_RUNNERS = {
    "restr_jax stablehlo 1": _with_jax,
    "restr_jax onnx 1": _with_onnxruntime,
}
