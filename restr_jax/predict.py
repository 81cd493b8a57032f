"""Masks of one's own images for one's own sentences."""

import json
import logging
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image

from restr_jax import experiment, precision
from restr_jax.data import preprocess
from restr_jax.evaluation import figures
from restr_jax.evaluation.evaluator import probability, to_mask, to_rle
from restr_jax.files import write_whole

logger = logging.getLogger(__name__)


def predict(
    config,
    workdir: str,
    images: Sequence[str],
    expressions: Sequence[str],
    output: str,
) -> list[dict]:
    """Segments every expression in every image.

    Writes, for image IMAGE and the n-th expression, IMAGE-n.png (the mask, 0 or 255),
    IMAGE-n-figure.png (a picture of it) and predictions.json (a row for each).

    Args:
        config: the configuration of the workdir.
        workdir: of a trained model; ``config.eval.checkpoints`` says which checkpoint.
        images: paths.
        expressions: sentences, each asked of every image.
        output: folder to write into.

    Returns:
        The rows of predictions.json.

    Raises:
        FileNotFoundError: if an image or the trained model does not exist.
        ValueError: if an image cannot be read, or an expression is empty or holds no
            word that the model knows.
    """
    if not images or not expressions:
        raise ValueError(
            "Give at least one --image and one --expression to --mode=predict."
        )
    run = experiment.start(config, workdir, training=False)
    tokens = np.stack(
        [
            run.vocabulary.encode_known(sentence, config.data.max_words)
            for sentence in expressions
        ]
    )
    for sentence in expressions:
        if unknown := run.vocabulary.unknown(sentence):
            logger.warning("the model does not know %s in %r", unknown, sentence)
    photographs = {path: preprocess.read_photograph(path) for path in images}
    names = _names(images)

    checkpoints = run.checkpoints(read_only=True)
    step = checkpoints.select(config.eval.checkpoints)[-1]
    checkpoints.close()
    params = run.parallel.replicate(run.params(step))

    dtype = precision.compute_dtype(config.dtype)

    @jax.jit
    def segment(params, image, tokens):
        params, image = precision.cast((params, image), dtype)
        return run.model.apply({"params": params}, image, tokens, deterministic=True)

    folder = pathlib.Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    size, mode = tuple(config.model.image_size), config.data.resize
    rows = []
    for path, photograph in photographs.items():
        fitted = preprocess.fit_image(photograph, size, mode)
        answer = jax.device_get(segment(params, fitted[None], tokens[None]))
        for n, sentence in enumerate(expressions):
            logits = preprocess.restore(
                answer.pixel_logits[0, n], photograph.shape[:2], mode
            )
            mask = to_mask(logits, config.eval.thresholds[0])
            name = f"{names[path]}-{n + 1}"
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}.png")
            figures.draw_prediction(
                folder / f"{name}-figure.png",
                image=photograph,
                expression=sentence,
                patch_probability=probability(answer.patch_logits[0, n]),
                mask=mask,
                truth=None,
                iou=None,
            )
            rows.append(
                {
                    "image": str(path),
                    "expression": sentence,
                    "step": step,
                    "mask_file": f"{name}.png",
                    "area": int(mask.sum()),
                    "highest_probability": float(probability(logits).max()),
                    "mask": to_rle(mask),
                }
            )
            logger.info("%s: %r covers %d pixels", path, sentence, mask.sum())
    write_whole(folder / "predictions.json", json.dumps(rows, indent=2) + "\n")
    return rows


def _names(images: Sequence[str]) -> dict[str, str]:
    """Names each image's files after it.

    Raises:
        ValueError: if two images would write the same files.
    """
    names = {path: pathlib.Path(path).stem for path in images}
    for path, name in names.items():
        twins = [p for p in names if names[p] == name]
        if len(twins) > 1:
            raise ValueError(
                f"{twins} would write the same files {name}-*.png; rename one, or "
                f"predict {path} into another --output."
            )
    return names
