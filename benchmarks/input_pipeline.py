"""Measures the speed of the input pipeline by stage, and the speed it needs.

python -m benchmarks.input_pipeline --photographs=FOLDER --data_dir=data

FOLDER holds JPEG files; crops of them become the data set `photographs` in the data
folder (benchmarks/photographs.py). Times are CPU time, so they hold on a machine with
other load; rates are per core.
"""

import argparse
import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import tensorflow_datasets as tfds

from benchmarks.photographs import Photographs
from configs import common
from restr_jax.data import pipeline, preprocess, splits
from restr_jax.data.loader import Example, Loader
from restr_jax.data.text import Vocabulary
from restr_jax.models import build_model
from restr_jax.parallel import Parallel
from tfds_builders.storage.paths import typed

# The gradient costs about twice as much as the forward pass.
_STEP_PER_FORWARD = 3


def open_loader(arguments: argparse.Namespace) -> Loader:
    """Builds the data set unless it exists, and returns its loader."""
    builder = Photographs(data_dir=arguments.data_dir, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=arguments.photographs, register_checksums=False
        )
    )
    split = splits.open_split(arguments.data_dir, builder.name, "train")
    sentences = itertools.chain.from_iterable(split.sentences)
    config = common.get_config()
    return Loader(
        split,
        Vocabulary.from_sentences(sentences),
        tuple(config.model.image_size),
        arguments.resize,
        config.data.max_words,
        arguments.expressions,
    )


@contextlib.contextmanager
def timed(owner: object, name: str, spent: dict[str, float], stage: str) -> Iterator:
    """Adds the CPU seconds of a function to its stage."""
    real = getattr(owner, name)

    def measured(*args, **kwargs):
        started = time.thread_time()
        try:
            return real(*args, **kwargs)
        finally:
            spent[stage] += time.thread_time() - started

    with mock.patch.object(owner, name, measured):
        yield


def measure_stages(loader: Loader, arguments) -> dict[str, float]:
    """Returns the CPU seconds per image of each stage, in one thread."""
    stages: list[tuple[object, str, str]] = [
        (type(loader.split.source), "__getitem__", "read and parse the record"),
        (preprocess, "decode_image", "decode the JPEG"),
        (preprocess, "place_image", "resize the image"),
        (preprocess, "decode_mask", "decode the masks"),
        (preprocess, "fit_mask", "resize the masks"),
        (Vocabulary, "encode", "tokenise"),
    ]
    spent = dict.fromkeys((stage for _, _, stage in stages), 0.0)
    rng = np.random.default_rng(0)
    size, whole = arguments.batch_size, 0.0
    with contextlib.ExitStack() as stack:
        for owner, name, stage in stages:
            stack.enter_context(timed(owner, name, spent, stage))
        for _ in range(arguments.batches):
            started = time.thread_time()
            records = rng.integers(0, len(loader.split.sentences), size)
            loader.stack([_load(loader, int(r), rng) for r in records])
            whole += time.thread_time() - started
    spent["make the batch, and the rest"] = whole - sum(spent.values())
    images = size * arguments.batches
    return {stage: seconds / images for stage, seconds in spent.items()}


def _load(loader: Loader, record: int, rng) -> Example:
    order = rng.permutation(len(loader.split.sentences[record]))
    return loader.load(record, order[: loader.expressions])


def measure_stream(loader: Loader, num_workers: int, arguments) -> dict[str, float]:
    """Measures the stream of training batches, up to arrays on the device.

    Returns:
        Images and expressions per second, and CPU seconds per image: in total, and of
        this process alone, which receives the batches of its workers.
    """
    parallel = Parallel("jit")
    stream = pipeline.train_batches(
        loader,
        arguments.batch_size,
        seed=0,
        start_step=0,
        num_workers=num_workers,
    )
    with contextlib.closing(stream):
        # First drain the batches that were prefetched before the start.
        for _ in range(16 * max(1, num_workers)):
            jax.block_until_ready(parallel.shard(next(stream)))
        before, started = _processor_seconds(), time.monotonic()
        expressions = 0
        for _ in range(arguments.batches):
            batch = next(stream)
            expressions += int(batch["valid"].sum())
            jax.block_until_ready(parallel.shard(batch))
        wall = time.monotonic() - started
        here, in_all = (
            b - a for a, b in zip(before, _processor_seconds(), strict=True)
        )
        del batch
        jax.device_put(0)  # JAX frees the last batch's memory at its next call.
    images = arguments.batches * arguments.batch_size
    return {
        "images": images / wall,
        "expressions": expressions / wall,
        "per_image": in_all / images,
        "here": here / images,
    }


def _processor_seconds() -> tuple[float, float]:
    """Returns the CPU time of this process, and including its children."""
    this = psutil.Process()
    times = [p.cpu_times() for p in (this, *this.children(recursive=True))]
    used = [t.user + t.system for t in times]
    return used[0], sum(used)


def forward_flops(batch_size: int, expressions: int) -> float:
    """Counts the operations of the full model's forward pass, from its HLO."""
    config = common.get_config()
    model = build_model(config.model, 10_000)
    image = jnp.zeros((batch_size, *config.model.image_size, 3))
    tokens = jnp.zeros((batch_size, expressions, config.data.max_words), int)

    def forward(params, image, tokens):
        return model.apply(params, image, tokens, deterministic=True)

    abstract = jax.eval_shape(
        lambda: model.init(jax.random.key(0), image, tokens, deterministic=True)
    )
    return jax.jit(forward).lower(abstract, image, tokens).cost_analysis()["flops"]


def needed_images(arguments) -> tuple[float, str]:
    """Returns the images per second that training consumes, and the derivation."""
    if arguments.step_seconds:
        seconds, method = arguments.step_seconds, "as measured"
    else:
        flops = _STEP_PER_FORWARD * forward_flops(
            arguments.batch_size, arguments.expressions
        )
        rate = arguments.achieved * arguments.peak_tflops * 1e12
        seconds = flops / rate
        method = (
            f"{flops / 1e12:.2f} TFLOP at {arguments.achieved:.0%} of "
            f"{arguments.peak_tflops:.0f} TFLOP/s"
        )
    return arguments.batch_size / seconds, f"{1e3 * seconds:.1f} ms per step, {method}"


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """Formats a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable = parser.add_argument
    add(
        "--photographs", type=typed, help="folder of JPEG files; only for the first run"
    )
    add("--data_dir", type=typed, default="data", help="folder of the built data sets")
    add("--workers", default="0,1,2", help="worker processes, comma-separated")
    add("--batches", type=int, default=50, help="batches per row")
    add("--batch_size", type=int, default=8, help="images per batch")
    add("--expressions", type=int, default=1, help="K, per image")
    add("--resize", default="stretch", help="as config.data.resize")
    add("--step_seconds", type=float, help="of a training step, if measured")
    add("--peak_tflops", type=float, default=989.0, help="H200, bfloat16, dense")
    add("--achieved", type=float, default=0.4, help="share of the peak")
    arguments = parser.parse_args()
    loader = open_loader(arguments)

    stages = measure_stages(loader, arguments)
    whole = sum(stages.values())
    rows = [(s, f"{1e3 * t:.2f}", f"{t / whole:.0%}") for s, t in stages.items()]
    rows.append(("all, in one thread", f"{1e3 * whole:.2f}", f"{1 / whole:.0f}/s"))
    print(table(("stage", "ms per image", "share"), rows), end="\n\n")

    need, how = needed_images(arguments)
    rows = []
    for number in map(int, arguments.workers.split(",")):
        found = measure_stream(loader, number, arguments)
        rows.append(
            (
                number,
                f"{found['images']:.0f}",
                f"{found['expressions']:.0f}",
                f"{1e3 * found['per_image']:.2f}",
                f"{1e3 * found['here']:.2f}",
                f"{1 / found['per_image']:.0f}",
                f"{need * found['per_image']:.1f}",
            )
        )
    head = (
        "workers",
        "images/s",
        "expressions/s",
        "ms per image",
        "of it in the main process",
        "images/s per core",
        "cores needed",
    )
    print(table(head, rows))
    print(f"\nNeeded: {need:.0f} images/s ({how}). Cores here: {os.cpu_count()}.")


if __name__ == "__main__":
    main()
