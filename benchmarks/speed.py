"""Measures training steps and inference against a plain PyTorch ReSTR.

    pip install torch  # the CPU build is enough without a GPU
    python -m benchmarks.speed --image_size=320 --dtype=float32 --batch_sizes=1

The model is the full one (ViT-B/16, Gref's 12,112 words) with random weights and no
stochastic depth. Images, masks and expressions of six words are random. The ways
take turns in blocks of steps, and the median of all steps is reported. PyTorch runs
eagerly and under torch.compile, with scaled_dot_product_attention, fused AdamW and, in
bfloat16, autocast. Both have the same weights, and their outputs are compared first.

MFU is the model's operations over the time and over the rate of a large matrix product,
measured in the same run. Operations are two per executed multiply-add
(restr_jax/cost.py), and three times that for a training step. "max" in --batch_sizes is
the largest power of two that trains.
"""

import argparse
import functools
import gc
import json
import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import reports
from benchmarks.speed_ways import VOCABULARY, Jax, Torch, make_batch
from configs import common
from restr_jax import cost, precision
from restr_jax.data.data_sets import listed
from restr_jax.models import build_model, parameters
from tfds_builders.storage.paths import typed

Ways = dict[str, Callable[[], object]]


def make_config(image_size: int, dtype: str, remat: str):
    """Returns the measured configuration."""
    config = common.get_config()
    config.model.image_size = (image_size, image_size)
    config.model.remat = remat
    # The PyTorch model has none.
    config.model.vision.drop_path_rate = config.model.fusion.drop_path_rate = 0.0
    config.dtype = dtype
    return config


def gflop(config, model, params, batch) -> float:
    """Returns the operations of the forward pass, two per multiply-add."""
    image = jax.ShapeDtypeStruct((*batch["image"].shape,), jnp.float32)
    segment = functools.partial(model.apply, deterministic=True)
    traced = cost.trace(segment, {"params": params}, image, batch["tokens"])
    return 2e-9 * sum(product.macs for product in traced.products)


def measure(ways: Ways, rounds: int, steps: int) -> dict[str, float]:
    """Returns the median seconds of each way; they take turns in blocks of steps."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for once in ways.values():
        once()  # Compiles.
    for _ in range(rounds):
        for name, once in ways.items():
            once()  # The first call after another way has cold caches.
            for _ in range(steps):
                started = time.perf_counter()
                once()
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(s) for name, s in seconds.items()}


def matmul_rate(dtype, side: int) -> float:
    """Returns GFLOP/s of a square matrix product, the best of several."""
    x = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        product(x, x).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2e-9 * side**3 / best


def out_of_memory(error: Exception) -> bool:
    """Returns whether a device ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or "RESOURCE_EXHAUSTED" in str(
        error
    )


def largest_batch(config, params) -> int:
    """Doubles the batch until a training step no longer fits."""
    batch_size = 8
    while True:
        try:
            Jax(config, params).train(make_batch(config, 2 * batch_size, 1))()
        except Exception as error:
            if not out_of_memory(error):
                raise
            return batch_size
        batch_size *= 2
        gc.collect()


def compare(config, params, batch_size: int, arguments, rate: float) -> list[dict]:
    """Measures inference and training at one batch size, in every way."""
    ours = Jax(config, params)
    batch = make_batch(config, batch_size, 1)
    forward = gflop(config, ours.model, params, batch)
    ways: dict[str, Ways] = {
        "inference": {"jax": ours.infer(batch)},
        "training": {"jax": ours.train(batch)},
    }
    for name in arguments.torch:
        theirs = Torch(config, params, compiled=name == "compile")
        ways["inference"][f"torch {name}"] = theirs.infer(batch)
        ways["training"][f"torch {name}"] = theirs.train(batch)
    if arguments.torch:
        own, other = (ways["inference"][n]() for n in ("jax", f"torch {name}"))
        other = other[0].float().cpu().numpy()
        own = np.asarray(own.pixel_logits[:, 0])
        print("greatest logit difference:", np.abs(own - other).max())
    for k in arguments.expressions:
        ways["training"][f"jax K={k}"] = ours.train(make_batch(config, batch_size, k))
    if batch_size == 1:
        ways["inference"]["jax, a further expression"] = ours.further(batch)
    rows = []
    for work, times in ((1, ways["inference"]), (3, ways["training"])):
        for name, seconds in measure(times, arguments.rounds, arguments.steps).items():
            k = int(name.partition("K=")[2] or 1)
            whole = forward
            if k > 1:
                many = make_batch(config, batch_size, k)
                whole = gflop(config, ours.model, params, many)
            row = {
                "what": "training step" if work == 3 else "inference",
                "way": name,
                "batch": batch_size,
                "expressions": k,
                "seconds": seconds,
                "expressions_per_second": batch_size * k / seconds,
            }
            if "further" not in name:
                row["mfu"] = work * whole / seconds / rate
            rows.append(row)
            print(json.dumps(row), flush=True)
    rows[0]["bytes"], rows[0]["gflop"] = ours.memory, forward
    return rows


def main() -> None:
    """Measures all requested ways and writes one JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image_size", type=int, default=480)
    parser.add_argument("--dtype", choices=precision.DTYPES, default="auto")
    parser.add_argument("--remat", default="none")
    parser.add_argument("--batch_sizes", default="1,8", help='such as "1,8,max"')
    parser.add_argument("--expressions", default="4", help="further K; may be empty")
    parser.add_argument("--torch", default="eager,compile", help="may be empty")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="per way and round")
    parser.add_argument(
        "--results", type=typed, default="benchmarks/results/speed.json"
    )
    arguments = parser.parse_args()
    arguments.torch = [name for name in listed(arguments.torch) if name]
    arguments.expressions = [int(k) for k in arguments.expressions.split(",") if k]

    config = make_config(arguments.image_size, arguments.dtype, arguments.remat)
    dtype = precision.compute_dtype(config.dtype)
    model = build_model(config.model, VOCABULARY)
    params = parameters.init(model, config.data.max_words, seed=0)
    params = jax.tree.map(np.array, params)
    rate = matmul_rate(dtype, 2048 if jax.default_backend() == "cpu" else 8192)
    print(f"matrix product in {dtype}: {rate:.0f} GFLOP/s", flush=True)
    rows = []
    for given in listed(arguments.batch_sizes):
        size = largest_batch(config, params) if given == "max" else int(given)
        rows += compare(config, params, size, arguments, rate)
        gc.collect()
    stats = jax.devices()[0].memory_stats() or {}
    result = {
        "image_size": arguments.image_size,
        "dtype": dtype.name,
        "remat": arguments.remat,
        "parameters": parameters.count(params),
        "matmul_gflop_per_second": rate,
        "peak_bytes_in_use": stats.get("peak_bytes_in_use"),
        "rows": rows,
        "device": str(jax.devices()[0].device_kind),
        "cores": len(os.sched_getaffinity(0)),
        "versions": reports.versions("jax", "torch"),
    }
    reports.write(arguments.results, result)


if __name__ == "__main__":
    # Otherwise JAX would reserve most of the GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    main()
