"""Training runs of tests: those of equal programs trace and compile them once.

Most of a short run is JAX tracing the same step again. train_loop_test.py counts the
compilations of a run that shares nothing.
"""

import contextlib

import pytest

from restr_jax import train
from restr_jax.evaluation import page
from restr_jax.parallel import Parallel
from restr_jax.training.train_step import make_train_step

# The training step reads none of these keys.
_ELSEWHERE = ("data", "eval", "profile", "init_from", "keep_checkpoints")
_ELSEWHERE += ("log_every_steps", "checkpoint_every_steps")
_ELSEWHERE += ("batch_size", "parallel", "fsdp")
_compile_step = Parallel.train_step
_steps, _compiled = {}, {}


def step_of(model, optimizer, config):
    """Returns the training step, the same object for equal models and settings."""
    read = {k: v for k, v in config.to_dict().items() if k not in _ELSEWHERE}
    key = model, str(sorted(read.items()))
    if key not in _steps:
        _steps[key] = make_train_step(model, optimizer, config)
    return _steps[key]


def compile_once(parallel, step, abstract):
    """Compiles a training step, only once for equal devices."""
    key = step, parallel.mode, parallel.fsdp, parallel.num_devices
    if key not in _compiled:
        _compiled[key] = _compile_step(parallel, step, abstract)
    return _compiled[key]


@contextlib.contextmanager
def shared_steps():
    """Gives all runs of one model and optimizer the same compiled training step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_train_step", step_of)
        patch.setattr(Parallel, "train_step", compile_once)
        yield


def finish(config, workdir):
    """Trains to the end and scores, without plots; returns the rows of results.json."""
    with shared_steps(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write", lambda folder, rows: None)
        return train.train_and_evaluate(config, str(workdir))
