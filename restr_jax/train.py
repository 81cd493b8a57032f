"""Training, with scoring on the way and at the end."""

import contextlib
import logging

import jax
from tqdm import tqdm

from restr_jax import experiment
from restr_jax.data import pipeline
from restr_jax.data.splits import Split
from restr_jax.evaluation import metrics, score_run
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.experiment import Experiment
from restr_jax.metric_writer import MetricWriter
from restr_jax.profiling import Profiler
from restr_jax.train_state import TrainState
from restr_jax.train_step import make_train_step
from restr_jax.train_window import Window

logger = logging.getLogger(__name__)


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
        make_train_step(run.model, run.optimizer, config), run.abstract_state()
    )
    writer = MetricWriter(str(run.workdir), first)
    window = Window(total)
    profiler = Profiler(config.profile, run.workdir / "profile", first)
    bar = tqdm(
        total=total,
        initial=first,
        desc="training",
        unit="step",
        disable=True if jax.process_index() else None,  # None: where nobody looks
    )
    closing = contextlib.closing
    with closing(batches), closing(writer), closing(profiler), bar:
        for step in range(first, total + 1):
            is_new, is_last = step > first, step == total
            if is_new and (step % config.log_every_steps == 0 or is_last):
                writer.write(step, window.close(step))
            oiou = None
            if is_new and (step % config.eval.every_steps == 0 or is_last):
                cut = config.eval.thresholds[0]
                params = run.parallel.to_score(state.params)
                records = evaluator.collect(params, val_split, cut)
                oiou = metrics.cumulative_iou(records)
                writer.write(step, {f"{val_split.name}/oiou": oiou})
                window.restart_clock()
            if is_new and (step % config.checkpoint_every_steps == 0 or is_last):
                checkpoints.save(step, state, oiou)
            if is_last:
                break
            # Nothing here waits for the device: a step is only queued, and the next
            # batch is made and sent while the device works on it.
            profiler.before(step)
            batch = run.parallel.feed(window.next_batch(batches))
            with jax.transfer_guard("disallow"):
                state, sums = train_step(state, batch)
            window.add(sums)
            profiler.after(step, sums)
            bar.update()
