"""Writes masks of many images for many expressions."""

import itertools
import json
import logging
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from restr_jax.inference import outputs, photographs, segmenter
from restr_jax.inference.segmenter import Prediction, Segmenter
from restr_jax.workdir.config_checks import check_config, check_same
from tfds_builders.inspection.progress import progress_bar
from tfds_builders.storage.paths import find, typed

logger = logging.getLogger(__name__)


class Request(NamedTuple):
    """An image file and the expressions to segment in it."""

    path: pathlib.Path
    expressions: tuple[str, ...]


def find_requests(images: Sequence[str], expressions: Sequence[str]) -> list[Request]:
    """Collects the images and expressions to segment.

    Args:
        images: files, folders or patterns, see `photographs.find`, which finds no
            output of `predict`; or JSON lines files (.jsonl) of {"image": path,
            "expressions": [text, ...]}, with paths relative to the file.
        expressions: texts for every image, except for those of JSON lines files.

    Raises:
        FileNotFoundError: if a file does not exist, or a folder or pattern has none.
        ValueError: if there is no image or expression, or a line is malformed.
    """
    requests = []
    for given in map(typed, images):
        path = pathlib.Path(given)
        is_text = path.suffix == ".jsonl" and path.is_file()
        if is_text and not outputs.is_output(path):
            requests += _read_lines(path)
        elif not expressions:
            raise ValueError(f"There is no text for {given}; give an --expression.")
        else:
            found = photographs.find(given)
            requests += [Request(path, tuple(expressions)) for path in found]
    if not requests:
        raise ValueError("There is nothing to segment; give at least one image.")
    return requests


def _read_lines(path: pathlib.Path) -> list[Request]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}.") from error
    requests = []
    # Not splitlines(): an expression may contain its other line separators.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            image, sentences = row["image"], row["expressions"]
            if not isinstance(image, str) or not isinstance(sentences, list):
                raise TypeError
            if not sentences or not all(isinstance(s, str) for s in sentences):
                raise TypeError
            # JSON can contain half a surrogate pair, which cannot be written to a file.
            "".join([image, *sentences]).encode("utf-8")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f'{path}, line {number} is not of the form {{"image": "a.jpg", '
                '"expressions": ["the man on the left"]}.'
            ) from error
        image = path.parent / find(path.parent, image)
        requests.append(Request(image, tuple(sentences)))
    return requests


def predict(
    model: Segmenter, requests: Sequence[Request], output: str, threshold: float
) -> list[dict]:
    """Segments every expression in its image; skips unreadable images.

    For image IMAGE and the n-th expression, writes IMAGE-n.png (the mask, 0 or 255) and
    IMAGE-n-overlay.png (the mask on the image), both at the image's own size. Writes a
    row for each into predictions.jsonl, one by one.

    Args:
        model: a loaded model.
        requests: the images and expressions to segment.
        output: the output folder.
        threshold: the minimum probability of a pixel in the mask.

    Returns:
        The rows of predictions.jsonl.

    Raises:
        ValueError: before anything is written, if images would write the same files,
            a file of the user would be written over, or an expression has no known
            word; at the end, if images were skipped, with the list of them.
    """
    stems = _name_outputs(requests)
    model.read_texts([text for request in requests for text in request.expressions])
    folder = pathlib.Path(typed(output))
    pairs = map(outputs.mask_and_overlay, itertools.chain.from_iterable(stems))
    names = (*itertools.chain.from_iterable(pairs), outputs.ROWS)
    outputs.check_free(folder / name for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    rows, failures = [], []
    with open(folder / outputs.ROWS, "w", encoding="utf-8") as file:
        for request, own in zip(
            progress_bar(requests, unit="image"), stems, strict=True
        ):
            try:
                image = model.encode(request.path)
            except (OSError, ValueError) as error:
                logger.warning("%s", error)
                failures.append(str(error))
                continue
            found = image.segment(request.expressions, threshold=threshold)
            for stem, prediction in zip(own, found, strict=True):
                row = _write(folder, stem, prediction)
                row = {"image": str(request.path)} | row
                if not prediction.found:
                    logger.info(
                        "%s: nothing found for %r (the highest probability is %.2f, "
                        "below %.2f)",
                        request.path,
                        prediction.text,
                        prediction.highest,
                        threshold,
                    )
                print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
                rows.append(row)
    logger.info("wrote %d masks to %s", len(rows), folder)
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(requests)} images were skipped:\n  "
            + "\n  ".join(failures)
        )
    return rows


def _write(folder: pathlib.Path, stem: str, prediction: Prediction) -> dict:
    mask_file, overlay_file = outputs.mask_and_overlay(stem)
    outputs.write(folder / mask_file, prediction.mask)
    outputs.write(folder / overlay_file, np.asarray(prediction.overlay()))
    return {"mask_file": mask_file} | prediction.to_dict()


def _name_outputs(requests: Sequence[Request]) -> list[list[str]]:
    """Names the masks of each image after it.

    If two images share a stem, the names contain their suffixes.

    Raises:
        ValueError: if two images would write the same files.
    """
    paths = [request.path for request in requests]
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in paths]
    for name, count in Counter(names).items():
        if count > 1:
            twins = [str(p) for p, n in zip(paths, names, strict=True) if n == name]
            raise ValueError(
                f"{twins} would write the same files {name}-*.png; rename one, or "
                "choose another --output for it."
            )
    return [
        [f"{name}-{n}" for n, _ in enumerate(request.expressions, start=1)]
        for name, request in zip(names, requests, strict=True)
    ]


def predict_workdir(
    config, workdir: str, images: Sequence[str], expressions: Sequence[str], output: str
) -> list[dict]:
    """Predicts with the model of a workdir.

    Args:
        config: the workdir's configuration; ``config.eval`` sets the checkpoint and
            the threshold.
        workdir: the workdir of a trained model.
        images: see `find_requests`.
        expressions: see `find_requests`.
        output: the output folder.

    Returns:
        The rows of predictions.jsonl.

    Raises:
        FileNotFoundError: if an image or the trained model does not exist.
        ValueError: see `find_requests` and `predict`.
    """
    workdir = typed(workdir)
    requests = find_requests(images, expressions)
    check_config(config)
    check_same(workdir, config)
    model = segmenter.load(
        workdir, checkpoint=config.eval.checkpoints, dtype=config.dtype
    )
    return predict(model, requests, output, config.eval.thresholds[0])
