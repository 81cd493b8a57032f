"""Whether an artifact computes what the model does that it was made of."""

import functools
import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from restr_jax import segmenter
from restr_jax.data.text import Vocabulary
from restr_jax.export import artifact
from restr_jax.files import write_whole
from restr_jax.model_files import Trained
from restr_jax.segmenter import Segmenter

logger = logging.getLogger(__name__)

# Greatest difference of an output, as a share of its greatest value or, if that is less
# than 1, of 1. Sums of float32 in another order have been seen to differ by 3e-6; other
# models and processors get some room. Where logits reach 10, one that is off by so much
# moves its probability by 3e-4 at most.
TOLERANCE = 1e-4
# Greatest share of an image's pixels that masks may differ in: Pillow 13 may resize
# rows first, so that images are in places a level off from what the loader makes.
MASK_TOLERANCE = 0.01
SIZES = ((1, 1), (2, 3))  # images, and sentences for each of them, that are tried


def check(trained: Trained, folder: pathlib.Path) -> None:
    """Compares an artifact with its model, on the CPU, and writes parity.json.

    On a CPU both compute in full float32, whatever another device makes of it.

    Raises:
        ValueError: if they differ by more than rounding; it cannot be loaded any more.
    """
    with jax.default_device(jax.devices("cpu")[0]):
        loaded = artifact.load(folder)
        outputs = [row for b, k in SIZES for row in _outputs(trained, loaded, b, k)]
        masks = _masks(trained, loaded)
    found = {"tolerance": TOLERANCE, "outputs": outputs, "masks": masks}
    write_whole(folder / "parity.json", json.dumps(found, indent=2) + "\n")
    _log(outputs, masks)
    wrong = [row for row in outputs if not row["share"] <= TOLERANCE]
    if wrong or masks["share_of_pixels"] > MASK_TOLERANCE:
        artifact.begin(folder)  # Nobody shall load it.
        raise ValueError(
            f"What was written into {folder} does not compute what the model does, by "
            f"more than {TOLERANCE} in {wrong}, masks {masks}; please report it."
        )


def _log(outputs: list[dict], masks: dict) -> None:
    for row in outputs:
        logger.info(
            "%(output)s, images %(images)d, sentences %(sentences)d: off by "
            "%(difference).1e, values up to %(greatest).2g",
            row,
        )
    logger.info(
        "masks from image to mask: IoU %(iou).4f, probabilities off by "
        "%(probability).1e",
        masks,
    )


def _outputs(trained: Trained, loaded: Any, b: int, k: int) -> list[dict]:
    """Compares the outputs of both programs for random images."""
    model, params = trained.model, trained.params
    shape = (b, *model.vision.image_size, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    sentences = _sentences(trained.vocabulary, b * k)
    tokens = np.stack([loaded.read_words(s) for s in sentences]).reshape(b, k, -1)
    expected = jax.jit(functools.partial(segmenter.encode, model))(params, images)
    visual = loaded.encode(images)
    rows = [_differences("visual", b, k, expected, visual)]
    run = jax.jit(functools.partial(segmenter.segment, model))
    given = loaded.run(visual, tokens)
    for name, array in zip(given, run(params, expected, tokens), strict=True):
        rows.append(_differences(name, b, k, array, given[name]))
    return rows


def _differences(output: str, b: int, k: int, expected: Any, given: Any) -> dict:
    expected, given = np.asarray(expected), np.asarray(given)
    difference = float(np.abs(given - expected).max())
    greatest = float(np.abs(expected).max())
    return {
        "output": output,
        "images": b,
        "sentences": k,
        "difference": difference,
        "greatest": greatest,
        "share": difference / max(greatest, 1.0),
    }


def _sentences(vocabulary: Vocabulary, count: int) -> list[str]:
    """Returns sentences of one, two, three, ... words of the vocabulary."""
    words = [w for w in vocabulary.words[len(vocabulary.special) :] if w.isalnum()]
    return [
        " ".join(words[i % len(words)] for i in range(n, 2 * n))
        for n in range(1, count + 1)
    ]


def _masks(trained: Trained, loaded: Any) -> dict:
    """Compares masks of an image of another size than the network's, start to end."""
    height, width = trained.model.vision.image_size
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = np.kron(coarse, np.ones((height // 5, width // 6, 1), np.uint8))
    sentences = _sentences(trained.vocabulary, 3)
    expected = Segmenter(trained, "float32").encode(pixels).segment(sentences)
    given = loaded.segment(pixels, sentences)
    masks = [np.stack([p.mask for p in found]) for found in (expected, given)]
    union, common = (masks[0] | masks[1]).sum(), (masks[0] & masks[1]).sum()
    differences = [
        np.abs(e.probability - g.probability).max()
        for e, g in zip(expected, given, strict=True)
    ]
    return {
        "iou": float(common / union) if union else 1.0,
        "share_of_pixels": float((masks[0] != masks[1]).mean()),
        "probability": float(max(differences)),
    }
