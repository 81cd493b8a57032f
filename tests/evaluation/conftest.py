"""Fixtures with an untrained model, whose masks suffice for counting pixels."""

import contextlib
import functools

import jax
import numpy as np
import pytest
from compiled import apply
from pycocotools import mask as mask_util

from restr_jax import experiment
from restr_jax.data import pipeline
from restr_jax.data.loader import Loader
from restr_jax.evaluation import page
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.training import train_state


@pytest.fixture(scope="session")
def noisy_config(tiny_config):
    """Returns a function that makes the config of the workdirs below."""

    def make(dataset="shapes", num_figures=0):
        config = tiny_config(dataset)
        config.optimizer.total_steps = 12
        config.eval.shuffled_text = False
        config.eval.num_figures = num_figures  # Drawing is slower than scoring.
        return config

    return make


@pytest.fixture(scope="session")
def make_workdir(noisy_config):
    """Returns a function that makes a workdir of noisy weights; the last are best."""

    def make(folder, dataset="shapes", steps=(4, 8), num_figures=0):
        config = noisy_config(dataset, num_figures)
        run = experiment.start(config, str(folder), training=True)
        checkpoints = run.checkpoints()
        for step in steps:
            save(run, checkpoints, step)
        checkpoints.close()
        return config, folder

    return make


def save(run, checkpoints, step):
    rng = np.random.default_rng(step)
    params = jax.tree.map(
        lambda x: x + rng.normal(0, 0.05, x.shape).astype(x.dtype),
        jax.device_get(run.fresh_state()).params,
    )
    # Mix two random maps to logits to a mean of 0: masks are neither empty nor full.
    kernel, means = params["decoder"]["to_logit"]["kernel"], []
    others = rng.normal(0, 0.05, (2, *kernel.shape)).astype(np.float32)
    for other in others:
        kernel[:] = other
        means.append(mean_logit(run, params))
    kernel[:] = others[0] - means[0] / means[1] * others[1]
    state = train_state.create(params, run.optimizer).replace(step=np.int32(step))
    checkpoints.save(step, run.parallel.replicate(state), oiou=step / 100)


def mean_logit(run, params):
    config, split = run.config, run.data.scored("val")
    size, words = tuple(config.model.image_size), config.data.max_words
    loader = Loader(split, run.vocabulary, size, config.data.resize, words, 3)
    with contextlib.closing(pipeline.eval_batches(loader, 3)) as batches:
        batch, _ = next(batches)
    given = {"params": params}, batch["image"], batch["tokens"]
    output = apply(run.model, *given)
    return float(output.pixel_logits.mean())


@pytest.fixture
def save_checkpoint():
    """Returns a function that saves one more checkpoint of a run."""
    return save


@pytest.fixture
def no_plots(monkeypatch):
    """Scores without the plots of all rows and their page."""
    monkeypatch.setattr(page, "write", lambda folder, rows: None)


@pytest.fixture(scope="session")
def shapes_workdir(noisy_config, make_workdir, made_once):
    return noisy_config(), made_once("noisy_shapes", make_workdir)


@pytest.fixture(scope="session")
def gref_workdir(noisy_config, make_workdir, made_once):
    dataset = "gref/google"
    folder = made_once("noisy_gref", functools.partial(make_workdir, dataset=dataset))
    return noisy_config(dataset), folder


def open_run(config, workdir):
    """Opens a workdir; returns the run, an evaluator and the last parameters."""
    run = experiment.start(config, str(workdir), training=False)
    evaluator = Evaluator(run.model, config, run.vocabulary, run.parallel)
    return run, evaluator, run.parallel.replicate(run.params(8))


@pytest.fixture(scope="session")
def opened():
    return open_run


@pytest.fixture(scope="session")
def count_flips():
    """Returns a function that counts differing pixels of two lists of records."""

    def count(ours, theirs):
        flipped = pixels = 0
        for one, other in zip(ours, theirs, strict=True):
            assert one["sent_id"] == other["sent_id"]
            masks = [mask_util.decode(r["mask"]) for r in (one, other)]
            flipped += int(np.count_nonzero(masks[0] != masks[1]))
            pixels += masks[0].size
        return flipped, pixels

    return count
