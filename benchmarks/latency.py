"""Measures the latency of a mask in Python.

    python -m benchmarks.latency --image=photo.jpg

Measures the shipped models and the full one (ViT-B/16, 480 x 480, random weights): from
a file to the first mask at the image's own size, and the mask of each further
expression. Compilation is not timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax

import restr_jax
from configs import common
from restr_jax.data.text import Vocabulary
from restr_jax.inference.segmenter import Segmenter
from restr_jax.models import build_model, parameters
from restr_jax.workdir.model_files import Trained
from tfds_builders.storage.paths import typed


def full_model(vocab_size: int = 12_112) -> Segmenter:
    """Returns a model of the paper's size, random weights, Gref's word count."""
    config = common.get_config()
    words = ["<pad>", "<unk>", "circle"]
    words += [f"word{i}" for i in range(vocab_size - len(words))]
    model = build_model(config.model, vocab_size)
    params = parameters.init(model, config.data.max_words, seed=0)
    vocabulary = Vocabulary(words)
    return Segmenter(Trained(config, vocabulary, model, params, "random weights"))


def seconds(run: Callable[[], object], times: int) -> float:
    """Returns the median time of a call."""
    run()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(model: Segmenter, image: str, times: int) -> tuple[float, float]:
    """Returns the latency of a first mask, and of a further expression."""
    encoded = model.encode(image)
    first = seconds(lambda: model.encode(image).segment("circle").mask, times)
    return first, seconds(lambda: encoded.segment("circle").mask, times)


def main() -> None:
    """Prints one line per model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=typed, required=True, help="a photograph")
    parser.add_argument("--times", type=int, default=10)
    arguments = parser.parse_args()
    print(f"device: {jax.devices()[0].device_kind}")
    for name, make in (
        ("photos, as shipped", restr_jax.load),
        ("shapes, as shipped", lambda: restr_jax.load("shapes")),
        ("ViT-B/16, 480 x 480", full_model),
    ):
        first, further = measure(make(), arguments.image, arguments.times)
        print(f"{name}: first mask {first:.4f} s, further expression {further:.4f} s")


if __name__ == "__main__":
    main()
