"""Measures how long training stands still for a checkpoint of the full-size model.

    python -m benchmarks.checkpoint_stall

Nothing is trained: the state of configs/gref.py is filled with random values, and an
update takes the place of a training step. Like one, it reads all of the state and
reuses its memory, so it cannot start before the state is copied. Until it is done the
writer is held back: on a CPU both would share the cores, which they do not where an
accelerator trains. Times are those beyond an update without a save.
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
from restr_jax import train_state
from restr_jax.checkpoint import Checkpoints
from restr_jax.models import build_model
from restr_jax.optimizer import make_optimizer


def random_state():
    """Returns a state of the full size on the device, and its number of bytes."""
    config = gref.get_config()
    model, optimizer = (
        build_model(config.model, VOCABULARY),
        make_optimizer(config.optimizer),
    )
    abstract = jax.eval_shape(
        lambda: train_state.create(
            train_state.init_params(model, config.data.max_words, seed=0), optimizer
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
    """Holds back the first folder of a checkpoint, and so all that is in it."""
    released, real = threading.Event(), os.mkdir

    def mkdir(path, *arguments, **options):
        if ".orbax-checkpoint-tmp" in os.fspath(path):
            released.wait()
        return real(path, *arguments, **options)

    with mock.patch.object(os, "mkdir", mkdir):
        yield
        released.set()


def main() -> None:
    """Prints a line for each save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument("--folder", help="on the disk to measure; a temporary one")
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
                f"save {step}: returns after {returned:.2f} s, training stands still "
                f"for {stall:.2f} s, the checkpoint is whole after {whole:.2f} s",
                flush=True,
            )
        checkpoints.close()


if __name__ == "__main__":
    main()
