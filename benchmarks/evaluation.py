"""Measures the whole scoring path in three ways, with the same weights.

    pip install torch  # the CPU build is enough
    python -m benchmarks.evaluation --photographs=FOLDER --data_dir=data

*   shared: this package's evaluator, one vision pass for all expressions of an image;
*   alone: the same evaluator with one forward pass for each expression;
*   torch: a plain PyTorch ReSTR (benchmarks/torch_restr.py), one forward pass for each
    expression, as is usual elsewhere.

Each way decodes and resizes images, runs the model, resizes logits to the image's size,
thresholds them and counts pixels. The ways take turns. FOLDER holds JPEG files; crops
of them (benchmarks/photographs.py) are scored, with as many expressions per image as
UNC has on average. The weights are random, and compilation is not timed.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence

import jax
import numpy as np
import tensorflow_datasets as tfds
import torch
from PIL import Image
from pycocotools import mask as mask_util
from torch.nn import functional as F

from benchmarks import reports
from benchmarks.photographs import Photographs
from benchmarks.torch_restr import TorchReSTR, load
from configs import common
from restr_jax.data import preprocess, splits
from restr_jax.data.masks import to_rle
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary
from restr_jax.evaluation import metrics
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.models import build_model, parameters
from restr_jax.parallel import Parallel
from tfds_builders.storage.paths import typed

UNC_RATIO = 142_210 / 19_994  # expressions per image


def open_split(folder: str, data_dir: str, images: int) -> Split:
    """Builds the photographs unless they exist; opens the first ones.

    Every image keeps its first expressions, so that their mean number is that of UNC.
    """
    builder = Photographs(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=folder, register_checksums=False
        )
    )
    whole = splits.open_split(data_dir, builder.name, "train")
    sentences = [list(some) for some in whole.sentences[:images]]
    while sum(map(len, sentences)) > round(UNC_RATIO * images):
        max(sentences, key=len).pop()
    return Split(whole.name, whole.source, sentences, whole.images[:images])


def _first(split: Split) -> Split:
    """Returns only the image with the most expressions; all have its shape."""
    i = max(range(len(split.sentences)), key=lambda i: len(split.sentences[i]))
    source = [split.source[i]]
    return Split(split.name, source, [split.sentences[i]], [split.images[i]])


class _OneByOne(Sequence):
    """The records of a split, repeated so that each has a single expression."""

    def __init__(self, split: Split):
        counts = map(len, split.sentences)
        self._source = split.source
        self._places = [(i, k) for i, n in enumerate(counts) for k in range(n)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict:
        record, k = self._places[index]
        fields = dict(self._source[record])
        expressions = fields["expressions"]
        fields["expressions"] = {
            key: expressions[key][k : k + 1] for key in expressions
        }
        return fields


def one_by_one(split: Split) -> Split:
    """Returns a split with one expression per image, so each encodes its own image."""
    sentences = [[s] for some in split.sentences for s in some]
    return Split(split.name, _OneByOne(split), sentences, [""] * len(sentences))


def score_with_torch(model: TorchReSTR, split: Split, vocabulary, config) -> list[dict]:
    """Scores every expression separately in PyTorch; returns records with masks."""
    height, width = config.model.image_size
    records = []
    for i, sentences in enumerate(split.sentences):
        for k, sentence in enumerate(sentences):
            fields = split.source[i]
            image = preprocess.decode_image(fields["image"], "")
            small = Image.fromarray(image).resize((width, height), Image.BILINEAR)
            pixels = torch.from_numpy((np.asarray(small, np.float32) - 127.5) / 127.5)
            tokens = vocabulary.encode(sentence, config.data.max_words)
            with torch.inference_mode():
                logits, _ = model(pixels[None], torch.from_numpy(tokens)[None])
                restored = F.interpolate(
                    logits[None], image.shape[:2], mode="bilinear", align_corners=False
                )
            mask = restored[0, 0].numpy() >= 0
            place = fields["expressions"]["object"][k]
            truth = preprocess.decode_mask(
                fields["objects"]["mask"][place], image.shape[:2]
            )
            intersection, union = metrics.overlap(mask, truth)
            record = {
                "intersection": intersection,
                "union": union,
                "mask": to_rle(mask),
            }
            records.append(record)
    return records


def flips(ours: list[dict], theirs: list[dict]) -> float:
    """Returns the share of pixels that differ between the masks of two records."""
    pairs = [
        [mask_util.decode(r["mask"]) for r in pair]
        for pair in zip(ours, theirs, strict=True)
    ]
    wrong = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    return wrong / sum(a.size for a, _ in pairs)


def _mixed(run, params, split: Split) -> None:
    """Removes the mean of the logits, so that random weights give mixed masks."""
    kernel = params["decoder"]["to_logit"]["kernel"]
    rng, means = np.random.default_rng(0), []
    others = rng.normal(0, 0.1, (2, *kernel.shape)).astype(np.float32)
    for other in others:
        kernel[:] = other
        scored = run(_first(split), params)
        means.append(np.mean([s.logits.mean() for s in scored]))
    kernel[:] = others[0] - means[0] / means[1] * others[1]


def main() -> None:
    """Runs all three ways in turn and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=typed, required=True, help="folder of JPEG files"
    )
    parser.add_argument(
        "--data_dir", type=typed, default="data", help="folder for the crops"
    )
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--images_per_device", type=int, default=1)
    parser.add_argument("--size", choices=common.SIZES, default="B/16")
    parser.add_argument("--repeats", type=int, default=2, help="the best counts")
    parser.add_argument(
        "--results", type=typed, default="benchmarks/results/evaluation.json"
    )
    arguments = parser.parse_args()

    config = common.get_config(arguments.size)
    split = open_split(arguments.photographs, arguments.data_dir, arguments.images)
    sentences = [s for some in split.sentences for s in some]
    vocabulary = Vocabulary.from_sentences(sentences)
    model, parallel = build_model(config.model, len(vocabulary)), Parallel("jit")
    config.eval.images_per_device = arguments.images_per_device
    evaluator = Evaluator(model, config, vocabulary, parallel)
    params = jax.tree.map(
        np.array, parameters.init(model, config.data.max_words, seed=0)
    )
    _mixed(lambda s, p: list(evaluator.score(p, s, (0.5,))), params, split)
    on_device = parallel.replicate(params)
    reference = TorchReSTR(config.model, len(vocabulary)).eval()
    load(reference, params)
    ways = {
        "shared": lambda s: evaluator.collect(on_device, s, 0.5),
        "alone": lambda s: evaluator.collect(on_device, one_by_one(s), 0.5),
        "torch": lambda s: score_with_torch(reference, s, vocabulary, config),
    }
    for way in ways.values():
        way(_first(split))  # Compiles.
    seconds, records = {}, {}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            records[name] = way(split)
            spent = time.perf_counter() - started
            seconds[name] = min(seconds.get(name, spent), spent)
            print(f"{name}: {spent:.1f} s", flush=True)
    result = {
        "size": arguments.size,
        "images": arguments.images,
        "images_per_device": arguments.images_per_device,
        "expressions": len(sentences),
        "expressions_per_second": {n: len(sentences) / s for n, s in seconds.items()},
        "shared_over": {n: s / seconds["shared"] for n, s in seconds.items()},
        "flipped_pixels": {n: flips(records[n], records["shared"]) for n in ways},
        "device": str(jax.devices()[0]),
        "cores": len(os.sched_getaffinity(0)),
        "versions": reports.versions("jax", "torch"),
    }
    reports.write(arguments.results, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
