"""Batches of a training stream, for tests."""

import contextlib
import itertools

from restr_jax.data import pipeline


def take(loader, number, *, start_step=0, num_workers=0, **options):
    """Returns the first batches of four examples, and closes the stream."""
    stream = pipeline.train_batches(
        loader, 4, seed=3, start_step=start_step, num_workers=num_workers, **options
    )
    with contextlib.closing(stream):
        return list(itertools.islice(stream, number))
