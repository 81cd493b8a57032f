"""Measures how long saving a full-size checkpoint blocks training.

    python -m benchmarks.checkpoint_stall

Nothing is trained: the state of configs/gref.py is filled with random values, and an
update replaces the training step. Like a step, it reads all of the state and reuses its
memory, so it cannot start before the state is copied. The writer is blocked until the
update is done, since on a CPU both would share the cores, unlike with an accelerator.
Times exclude an update without a save.
"""

import argparse
import contextlib
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator
from unittest import mock

import jax
import numpy as np

from benchmarks.compile_ahead import VOCABULARY
from configs import gref
from restr_jax.models import build_model, parameters
from restr_jax.training import train_state
from restr_jax.training.optimizer import make_optimizer
from restr_jax.workdir.checkpoint import Checkpoints
from tfds_builders.storage.paths import typed


def random_state():
    """Returns a full-size state on the device, and its size in bytes."""
    config = gref.get_config()
    model, optimizer = (
        build_model(config.model, VOCABULARY),
        make_optimizer(config.optimizer),
    )
    abstract = jax.eval_shape(
        lambda: train_state.create(
            parameters.init(model, config.data.max_words, seed=0), optimizer
        )
    )
    rng = np.random.default_rng(0)

    def fill(x):
        if x.dtype == np.float32:
            return jax.device_put(rng.standard_normal(x.shape, np.float32))
        return jax.device_put(np.zeros(x.shape, x.dtype))

    state = jax.tree.map(fill, abstract)
    return state, sum(x.nbytes for x in jax.tree.leaves(state))


@contextlib.contextmanager
def writer_held() -> Iterator[None]:
    """Delays the first folder of a checkpoint, and so all files in it."""
    released, real = threading.Event(), os.mkdir

    def mkdir(path, *arguments, **options):
        if ".orbax-checkpoint-tmp" in os.fspath(path):
            released.wait()
        return real(path, *arguments, **options)

    with mock.patch.object(os, "mkdir", mkdir):
        yield
        released.set()


def main() -> None:
    """Prints one line per save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument(
        "--folder", type=typed, help="on the disk to measure; default: temporary"
    )
    arguments = parser.parse_args()
    state, size = random_state()
    print(f"{size / 1e9:.2f} GB on {jax.devices()[0].device_kind}")
    update = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    usual = []
    for _ in range(4):
        started = time.monotonic()
        state = jax.block_until_ready(update(state))
        usual.append(time.monotonic() - started)
    with contextlib.ExitStack() as opened:
        folder = arguments.folder or opened.enter_context(tempfile.TemporaryDirectory())
        workdir = str(pathlib.Path(folder) / "run")
        checkpoints = Checkpoints(workdir, keep_latest=1)
        for step in range(1, arguments.saves + 1):
            started = time.monotonic()
            with writer_held():
                checkpoints.save(step, state)
                returned = time.monotonic() - started
                state = jax.block_until_ready(update(state))
                stall = time.monotonic() - started - min(usual)
            checkpoints.wait()
            whole = time.monotonic() - started - min(usual)
            print(
                f"save {step}: returns after {returned:.2f} s, blocks training for "
                f"{stall:.2f} s, the checkpoint is complete after {whole:.2f} s",
                flush=True,
            )
        checkpoints.close()


if __name__ == "__main__":
    main()
