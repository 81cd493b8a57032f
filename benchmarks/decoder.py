"""Compares implementations of the decoder: time on a CPU, bytes on a TPU.

    python -m benchmarks.decoder --image_size=320 --batch_size=1
    .venv-tpu/bin/python -m benchmarks.decoder --tpu  # see benchmarks/tpu_compile.py

The decoder has its full size and includes the loss. `--tpu` compiles for a v5e and
reports the compiler's counts; nothing runs.
"""

import argparse
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from restr_jax.models import decoder, upsampling

WIDTHS = (1536, 768, 384, 192, 96)


def _saved(double, undouble):
    """Fuses doubling and activation, so that the gradient needs only the output."""

    @jax.custom_vjp
    def run(x):
        return nn.leaky_relu(double(x), upsampling.SLOPE)

    def forward(x):
        y = run(x)
        return y, y

    def backward(y, gradient):
        gradient = jnp.where(y >= 0, gradient, upsampling.SLOPE * gradient)
        return (undouble(gradient),)

    run.defvjp(forward, backward)
    return run


def _plain(double):
    return lambda x: nn.leaky_relu(double(x), upsampling.SLOPE)


FORMS = {
    "products, as autodiff has it": _plain(upsampling._double_by_products),
    "products": _saved(
        upsampling._double_by_products, upsampling._undouble_by_products
    ),
    "neighbours, as autodiff has it": _plain(upsampling._double),
    "neighbours": _saved(upsampling._double, upsampling._undouble),
    "chosen": upsampling.double_leaky,
}
LAST = {"product": decoder._product, "sum": decoder._sum}


def loss(form, last, inputs, mask):
    """Returns the pixel loss of Eq. 12; inputs are features and kernels."""
    x, *kernels, to_logit = inputs
    for kernel in kernels:
        x = FORMS[form](x @ kernel)
    logits = LAST[last](x, to_logit)
    return optax.sigmoid_binary_cross_entropy(logits, mask).mean(axis=(1, 2)).sum()


def main() -> None:
    """Prints one line per form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image_size", type=int, default=480)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--tpu", action="store_true", help="compile for a v5e only")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    batch, size = arguments.batch_size, arguments.image_size
    shapes = [(batch, size // 16, size // 16, WIDTHS[0])]
    shapes += [*zip(WIDTHS, WIDTHS[1:], strict=False), (WIDTHS[-1], 1)]
    sharding = None
    if arguments.tpu:
        from jax.experimental import topologies

        described = topologies.get_topology_desc("v5e:2x2", "tpu")
        sharding = jax.sharding.SingleDeviceSharding(described.devices[0])
    dtype = jnp.bfloat16 if arguments.tpu else jnp.float32
    inputs = [jax.ShapeDtypeStruct(s, dtype, sharding=sharding) for s in shapes]
    mask = jax.ShapeDtypeStruct((batch, size, size), jnp.float32, sharding=sharding)
    rng = np.random.default_rng(0)
    for form in FORMS:
        for last in LAST:
            graded = jax.value_and_grad(lambda x, m, f=form, n=last: loss(f, n, x, m))
            compiled = jax.jit(graded).lower(inputs, mask).compile()
            said = f"{form:32s} {last:8s}"
            accessed = compiled.cost_analysis()["bytes accessed"] / 1e9
            temporary = compiled.memory_analysis().temp_size_in_bytes / 2**30
            said += f" {accessed:6.2f} GB moved, {temporary:.2f} GiB temporary"
            if not arguments.tpu:
                drawn = [jnp.asarray(rng.normal(size=s), dtype) / 30 for s in shapes]
                truth = jnp.asarray(rng.random(mask.shape) < 0.3, jnp.float32)
                seconds = []
                for _ in range(arguments.repeats + 1):
                    started = time.perf_counter()
                    jax.block_until_ready(compiled(drawn, truth))
                    seconds.append(time.perf_counter() - started)
                said += f", {1e3 * statistics.median(seconds[1:]):.0f} ms"
            print(said, flush=True)


if __name__ == "__main__":
    # libtpu starts on a machine without a TPU if these variables describe one.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    jax.config.update("jax_platforms", "cpu")
    main()
