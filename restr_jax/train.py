"""Training, with scoring on the way and at the end."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from restr_jax import experiment, inputs
from restr_jax.data import pipeline
from restr_jax.data.splits import Split
from restr_jax.evaluation import metrics, score_run
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.experiment import Experiment
from restr_jax.losses import segmentation_losses
from restr_jax.metric_writer import MetricWriter
from restr_jax.models import ReSTR
from restr_jax.optimizer import make_schedule
from restr_jax.train_state import TrainState

logger = logging.getLogger(__name__)


def make_train_step(
    model: ReSTR, optimizer: optax.GradientTransformation, config
) -> Callable:
    """Returns ``step(state, batch, axis_name) -> (state, sums)``.

    Losses are summed, not averaged, until every device has added its own: the mean is
    over the valid expressions of the whole batch, wherever they are.
    """

    def loss_sum(params: Any, batch: dict, key: jax.Array):
        output = model.apply(
            {"params": params},
            inputs.normalise(batch["image"], batch["box"]),
            batch["tokens"],
            deterministic=False,
            rngs={"dropout": key},
        )
        sums = segmentation_losses(
            output,
            batch["mask"].astype(jnp.float32),
            batch["valid"],
            patch_size=config.model.patch_size,
            patch_threshold=config.loss.patch_threshold,
            patch_weight=config.loss.patch_weight,
        )
        return sums["loss"], sums

    def step(state: TrainState, batch: dict, axis_name: str | None):
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        if axis_name:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        gradient_of = jax.grad(loss_sum, has_aux=True)
        gradient, sums = gradient_of(state.params, batch, key)
        if axis_name:
            gradient, sums = jax.lax.psum((gradient, sums), axis_name)
        count = jnp.maximum(sums["count"], 1.0)
        gradient = jax.tree.map(lambda g: g / count, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        sums["gradient_norm"] = optax.tree.norm(gradient)
        return TrainState(state.step + 1, params, opt_state), sums

    return step


def train_and_evaluate(config, workdir: str) -> list[dict]:
    """Trains to the end from wherever the workdir stands, then scores.

    Args:
        config: a configuration (configs/common.py).
        workdir: of the run; a run that was stopped goes on from its last checkpoint.

    Returns:
        The rows of eval/results.json.

    Raises:
        FileNotFoundError: if the data set or a file of the config does not exist.
        FloatingPointError: if the loss is no longer a number.
        ValueError: if the config cannot work, or the workdir is another config's.
    """
    if jax.process_count() > 1:
        raise ValueError(
            f"There are {jax.process_count()} processes; several can score together "
            "(--mode=eval), but training takes one process, with any number of devices."
        )
    run = experiment.start(config, workdir, training=True)
    train_split = run.open_training()
    val_split = run.open_split(config.data.val_split)
    for split in config.eval.splits.split(","):
        run.open_split(split)
    evaluator = Evaluator(run.model, config, run.vocabulary, run.parallel)
    checkpoints = run.checkpoints()
    if checkpoints.steps():
        state = run.restore(checkpoints, checkpoints.steps()[-1])
        logger.info("resuming from checkpoint %d of %s", int(state.step), workdir)
    else:
        state = run.fresh_state()
        logger.info("starting in %s", workdir)
    try:
        _train(run, state, train_split, val_split, evaluator, checkpoints)
    finally:
        checkpoints.close()
    return score_run.score_checkpoints(run, evaluator, run.workdir / "eval")


def _train(
    run: Experiment,
    state: TrainState,
    train_split: Split,
    val_split: Split,
    evaluator: Evaluator,
    checkpoints,
) -> None:
    """Runs the loop. The order matters: score, save, next batch, step."""
    config, first = run.config, int(state.step)
    total = config.optimizer.total_steps
    loader = pipeline.make_loader(config, train_split, run.vocabulary)
    batches = pipeline.train_batches(
        loader,
        config.batch_size,
        seed=config.seed,
        start_step=first,
        num_workers=config.data.num_workers,
        mirror=config.data.flip,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    train_step = run.parallel.train_step(
        make_train_step(run.model, run.optimizer, config)
    )
    writer = MetricWriter(str(run.workdir), first)
    window = _Window(make_schedule(config.optimizer), total)
    bar = tqdm(total=total, initial=first, desc="training", unit="step", disable=None)
    with contextlib.closing(batches), contextlib.closing(writer), bar:
        for step in range(first, total + 1):
            is_new, is_last = step > first, step == total
            if is_new and (step % config.log_every_steps == 0 or is_last):
                writer.write(step, window.close(step))
            oiou = None
            if is_new and (step % config.eval.every_steps == 0 or is_last):
                cut = config.eval.thresholds[0]
                records = evaluator.collect(state.params, val_split, cut)
                oiou = metrics.cumulative_iou(records)
                writer.write(step, {f"{val_split.name}/oiou": oiou})
                window.restart_clock()
            if is_new and (step % config.checkpoint_every_steps == 0 or is_last):
                checkpoints.save(step, state, oiou)
            if is_last:
                break
            # Nothing here waits for the device: a step is only queued, and the next
            # batch is made and sent while the device works on it.
            state, sums = train_step(state, run.parallel.shard(next(batches)))
            window.add(sums)
            bar.update()


class _Window:
    """Sums up the steps between two lines of metrics."""

    def __init__(self, schedule: optax.Schedule, total_steps: int):
        self._schedule = schedule
        self._total_steps = total_steps
        self._sums: list[dict] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leaves out of the speed what was not training."""
        self._started, self._timed = time.monotonic(), 0

    def add(self, sums: dict) -> None:
        """Takes a step's sums, still on the device: nothing waits for them here."""
        self._sums.append(sums)
        self._timed += 1

    def close(self, step: int) -> dict[str, float]:
        """Returns the means of the window that ends with a step.

        Raises:
            FloatingPointError: if the loss is not finite.
        """
        fetched = jax.device_get(self._sums)
        seconds = time.monotonic() - self._started
        count = sum(float(s["count"]) for s in fetched)
        means = {
            name: sum(float(s[name]) for s in fetched) / count
            for name in ("loss", "pixel_loss", "patch_loss")
        }
        if not np.isfinite(means["loss"]):
            raise FloatingPointError(
                f"The loss became {means['loss']} between steps "
                f"{step - len(fetched)} and {step}. The last checkpoint is from "
                "before it; resume with a smaller config.optimizer.learning_rate or "
                "with config.optimizer.clip_norm=1.0 in a new workdir."
            )
        speed = self._timed / max(seconds, 1e-9)
        norms = [float(s["gradient_norm"]) for s in fetched]
        means |= {
            "gradient_norm": float(np.mean(norms)),
            "learning_rate": float(self._schedule(step - 1)),
            "expressions_per_second": count / len(fetched) * speed,
            "minutes_left": (self._total_steps - step) / speed / 60,
        }
        self._sums = []
        self.restart_clock()
        return means
