"""Checks that an exported artifact matches its model."""

import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from restr_jax.data.text import Vocabulary
from restr_jax.export import artifact
from restr_jax.files import write_whole
from restr_jax.inference import segmenter
from restr_jax.inference.segmenter import Segmenter
from restr_jax.models import bound
from restr_jax.workdir.model_files import Trained

logger = logging.getLogger(__name__)

# Greatest difference of an output, relative to its greatest value or to 1 if that is
# less. In another order, float32 sums differed by up to 3e-6; the rest is a margin for
# other models and processors. Where logits reach 10, this changes a probability by 3e-4
# at most.
TOLERANCE = 1e-4
# Greatest share of an image's pixels that masks may differ in. Pillow 13 may resize
# rows first, so that some pixels are one level off from those of the loader.
MASK_TOLERANCE = 0.01
SIZES = ((1, 1), (2, 3))  # tested numbers of images and of expressions per image


def check(trained: Trained, folder: pathlib.Path) -> None:
    """Compares an artifact with its model, on the CPU, and writes parity.json.

    On a CPU both compute in full float32, unlike on other devices.

    Raises:
        ValueError: if they differ by more than rounding. The artifact is then made
            unloadable.
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
        artifact.begin(folder)  # Makes it unloadable.
        raise ValueError(
            f"The artifact in {folder} does not match the model: outputs that differ "
            f"by more than {TOLERANCE}: {wrong}, masks: {masks}. Please report this."
        )


def _log(outputs: list[dict], masks: dict) -> None:
    for row in outputs:
        logger.info(
            "%(output)s, %(images)d images, %(sentences)d expressions each: differs by "
            "%(difference).1e, values up to %(greatest).2g",
            row,
        )
    logger.info(
        "masks end to end: IoU %(iou).4f, probabilities differ by %(probability).1e",
        masks,
    )


def _outputs(trained: Trained, loaded: Any, b: int, k: int) -> list[dict]:
    """Compares the outputs of both programs for random images."""
    model, params = trained.model, trained.params
    shape = (b, *model.vision.image_size, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    sentences = _sentences(trained.vocabulary, b * k)
    tokens = np.stack([loaded.read_words(s) for s in sentences]).reshape(b, k, -1)
    expected = jax.jit(bound(segmenter.encode, model))(params, images)
    visual = loaded.encode(images)
    rows = [_differences("visual", b, k, expected, visual)]
    run = jax.jit(bound(segmenter.segment, model))
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
    """Returns expressions of one, two, three, ... words of the vocabulary."""
    words = [w for w in vocabulary.words[len(vocabulary.special) :] if w[:1].isalnum()]
    return [
        " ".join(words[i % len(words)] for i in range(n, 2 * n))
        for n in range(1, count + 1)
    ]


def _masks(trained: Trained, loaded: Any) -> dict:
    """Compares masks end to end, on an image of another size than the network's."""
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
