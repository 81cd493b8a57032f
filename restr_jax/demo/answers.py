"""Answers typed expressions with masks; `server` has the page itself."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image

from restr_jax.data import photograph, preprocess
from restr_jax.drawing import overlay
from restr_jax.inference import outputs, predict
from restr_jax.inference.segmenter import EncodedImage, Prediction, Segmenter

MAX_EXPRESSIONS = len(overlay.COLORS)  # each has a colour of its own
MAX_CHARACTERS = 1_000  # of all expressions together
MAX_SIDE = 1024  # pixels, longer side of images sent to the browser
_MIN_SIDE = 512  # pixels; much smaller images are enlarged
_TILE = (72, 108)  # pixels, greatest height and width of a patch map


@dataclasses.dataclass(frozen=True)
class Photo:
    """An encoded image, with pixels resized for the screen.

    Attributes:
        image: the encoded image; its pixels are resized for the screen.
        path: the file.
        size: height and width of the original image, pixels.
        seconds: duration of the encoding.
        answered: the last answers by expression; none of them runs the model again.
    """

    image: EncodedImage
    path: pathlib.Path
    size: tuple[int, int]
    seconds: float
    answered: dict[str, "Answer"] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result for one expression.

    Attributes:
        expression: the referring expression.
        prediction: None if the model could not take the expression.
        patches: float32 [h, w] in [0, 1], the patch map in the image's frame; or None.
        unread: number of words at the end that the model does not read.
        error: reason for a missing prediction, or "".
        seconds: time from the words to the mask.
    """

    expression: str
    prediction: Prediction | None
    patches: np.ndarray | None
    unread: int
    error: str
    seconds: float


def read_expressions(text: str) -> list[str]:
    """Splits typed text into expressions, one per line; ignores blank lines.

    Raises:
        ValueError: if the text is too long or has too many expressions.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"The text has {len(text):,} characters, but at most {MAX_CHARACTERS:,} "
            "are allowed; shorten it."
        )
    expressions = [line.strip() for line in text.splitlines() if line.strip()]
    if len(expressions) > MAX_EXPRESSIONS:
        raise ValueError(
            f"The text has {len(expressions)} expressions, one per line, but at most "
            f"{MAX_EXPRESSIONS} are allowed; remove some."
        )
    return expressions


def open_photo(model: Segmenter, path: str) -> Photo:
    """Reads and encodes an image file.

    Raises:
        ValueError: if the file is not an image, damaged or too large. The message
            omits its folder, which is internal to the server.
    """
    try:
        pixels = photograph.to_pixels(path)
    except (OSError, ValueError) as error:
        name = pathlib.Path(path).name
        raise ValueError(str(error).replace(str(path), name)) from error
    start = time.perf_counter()
    image = model.encode(pixels)
    jax.block_until_ready(image._visual)  # JAX dispatches asynchronously.
    seconds = time.perf_counter() - start
    # The model has seen every pixel. From here on, the image is only drawn on, at every
    # key press, and kept while its page is open.
    image.pixels = fit_screen(pixels)
    return Photo(image, pathlib.Path(path), pixels.shape[:2], seconds)


def fit_screen(pixels: np.ndarray) -> np.ndarray:
    """Shrinks a large image or enlarges a tiny one by a whole factor, uint8 [H, W, 3].

    The longer side is at most `MAX_SIDE`.
    """
    longest = max(pixels.shape[:2])
    if longest > MAX_SIDE:
        small = Image.fromarray(pixels)
        small.thumbnail((MAX_SIDE, MAX_SIDE))
        return np.asarray(small)
    factor = max(1, _MIN_SIDE // longest)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def answer(
    model: Segmenter, photo: Photo, expressions: Sequence[str], threshold: float
) -> list[Answer]:
    """Segments each expression; an unusable one does not stop the others.

    The model runs for new expressions only: another threshold needs no run.
    """
    known = photo.answered
    given = {x: known.get(x) or _answer_one(model, photo, x) for x in expressions}
    known.clear()
    known.update(given)
    return [_at(given[expression], threshold) for expression in expressions]


def _at(found: Answer, threshold: float) -> Answer:
    """Returns an answer with the mask of another threshold."""
    if found.prediction is None or found.prediction.threshold == threshold:
        return found
    return dataclasses.replace(found, prediction=found.prediction.at(threshold))


def _answer_one(model: Segmenter, photo: Photo, expression: str) -> Answer:
    start = time.perf_counter()
    try:
        prediction = photo.image.segment(expression)
    except ValueError as error:
        return Answer(expression, None, None, 0, str(error), 0.0)
    assert prediction.mask is not None  # Computed on first access: here, to be timed.
    seconds = time.perf_counter() - start
    words = model.trained.vocabulary.tokenize(expression)
    return Answer(
        expression,
        prediction,
        _lay_patches(
            prediction.patch_probability,
            photo.image.pixels.shape[:2],
            model.trained.config.data.resize,
        ),
        len(words) - len(prediction.words),
        "",
        seconds,
    )


def _lay_patches(
    probability: np.ndarray, size: tuple[int, int], mode: str
) -> np.ndarray:
    """Maps the patch map to the image's frame, small but with visible patches."""
    scale = min(limit / side for limit, side in zip(_TILE, size, strict=True))
    height, width = (max(1, round(scale * side)) for side in size)
    enlarged = probability.repeat(8, axis=0).repeat(8, axis=1)
    return preprocess.restore(enlarged, (height, width), mode).clip(0.0, 1.0)


def draw(photo: Photo, answers: Sequence[Answer]) -> np.ndarray:
    """Draws the masks, each in the colour of its line, on uint8 RGB [H, W, 3]."""
    pixels = photo.image.pixels
    none = np.zeros(pixels.shape[:2], bool)
    masks = [found.prediction.mask if found.prediction else none for found in answers]
    return overlay.draw(pixels, masks)


def save(
    model: Segmenter,
    photo: Photo,
    answers: Sequence[Answer],
    threshold: float,
    folder: pathlib.Path,
) -> list[pathlib.Path]:
    """Writes the files of `restr predict`, at the size of the original image.

    Returns:
        The files: a mask and an overlay for each answer, and predictions.jsonl.

    Raises:
        ValueError: if no answer has a mask, or the server has deleted the image.
    """
    usable = tuple(found.expression for found in answers if found.prediction)
    if not usable:
        raise ValueError("There is no mask to save; describe an object first.")
    if not photo.path.exists():
        raise ValueError("The server has deleted the image; choose it again.")
    request = predict.Request(photo.path, usable)
    rows = predict.predict(model, [request], str(folder), threshold)
    # The folder of the image is internal to the server.
    rows = [row | {"image": photo.path.name} for row in rows]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / outputs.ROWS).write_text("".join(lines), encoding="utf-8")
    return sorted(folder.iterdir())
