"""Training, with scoring during the run and at the end."""

import contextlib
import logging

import jax
from tqdm import tqdm

from restr_jax import experiment
from restr_jax.data import coverage, pipeline
from restr_jax.data.data_sets import listed
from restr_jax.data.loader import make_loader
from restr_jax.data.splits import Split
from restr_jax.evaluation import score_run
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.experiment import Experiment
from restr_jax.files import locked
from restr_jax.training.metric_writer import MetricWriter
from restr_jax.training.preemption import PreemptedError, Preemption
from restr_jax.training.profiling import Profiler
from restr_jax.training.step_metrics import Window
from restr_jax.training.train_state import Progress
from restr_jax.training.train_step import make_train_step
from restr_jax.workdir.checkpoint import Restored
from tfds_builders.inspection.progress import progress_bar

logger = logging.getLogger(__name__)


def train_and_evaluate(config, workdir: str) -> list[dict]:
    """Trains from the last checkpoint of the workdir, if any, to the end, then scores.

    Args:
        config: a configuration (configs/common.py).
        workdir: the workdir of the run; a stopped run resumes from its last checkpoint.

    Returns:
        The rows of eval/results.json.

    Raises:
        FileNotFoundError: if the data set or a file of the config does not exist.
        FloatingPointError: if the loss or gradient is not finite.
        OSError: if the workdir cannot be written to, or another process trains in it.
        PreemptedError: if the run received SIGTERM; all finished steps are saved.
        ValueError: if the config is invalid, the workdir belongs to another config, or
            data in the workdir or the data set are damaged.
    """
    run = experiment.start(config, workdir, training=True)
    with _alone(run), Preemption() as preemption:
        # All data are opened now: an error after hours would come too late.
        train_split = run.data.training
        val_split = run.data.scored(config.data.val_split)
        names = listed(config.eval.splits)
        scored = [run.data.scored(name) for name in names]
        _report(run, train_split, [val_split, *scored])
        evaluator = Evaluator(
            run.model, config, run.vocabulary, run.parallel, preemption.check
        )
        _train(run, train_split, val_split, evaluator, preemption)
        return score_run.score_checkpoints(run, evaluator, run.workdir / "eval")


def _report(run: Experiment, train_split: Split, scored: list[Split]) -> None:
    """Warns of expressions that the run would not read as they are meant."""
    data = run.config.data
    for line in coverage.of_flip(train_split) if data.flip else ():
        logger.warning("%s", line)
    coverage.warn((train_split, *scored), run.vocabulary, data.max_words)


def _alone(run: Experiment) -> contextlib.AbstractContextManager:
    """Locks the workdir against other trainers, in the first process."""
    if jax.process_index():
        return contextlib.nullcontext()
    return locked(
        run.workdir / ".training",
        f"Another process is training in {run.workdir}; wait for it, end it, or choose "
        "another --workdir.",
    )


def _train(
    run: Experiment,
    train_split: Split,
    val_split: Split,
    evaluator: Evaluator,
    preemption: Preemption,
) -> None:
    """Runs the loop, in this order: score, save, stop on SIGTERM, next batch, step."""
    config, total = run.config, run.config.optimizer.total_steps
    with contextlib.ExitStack() as opened:
        checkpoints = opened.enter_context(contextlib.closing(run.checkpoints()))
        state, progress, scored = _begin(run, checkpoints)
        first = int(state.step)
        batches = opened.enter_context(
            contextlib.closing(_batches(run, train_split, first))
        )
        train_step = run.parallel.train_step(
            make_train_step(run.model, run.optimizer, config), run.abstract_state
        )
        writer = MetricWriter(str(run.workdir), first, progress.lines)
        profiler = Profiler(config.profile, run.workdir / "profile", first)
        opened.enter_context(contextlib.closing(writer))
        opened.enter_context(contextlib.closing(profiler))
        skip = config.optimizer.nonfinite == "skip"
        window = Window(total, progress.window, skip_nonfinite=skip)
        bar = opened.enter_context(_bar(first, total))

        def save(oiou: float | None = None) -> None:
            done = Progress(writer.lines, window.sums_so_far(step))
            checkpoints.save(step, run.parallel.to_save(state), oiou, done)

        for step in range(first, total + 1):
            is_new, is_last = step > first, step == total
            if is_new and (step % config.log_every_steps == 0 or is_last):
                writer.write(step, window.close(step))
            # A run that received SIGTERM while scoring has saved this step unscored.
            first_too = step > 0 or config.eval.at_start
            to_score = is_new or (first_too and not scored)
            if to_score and (step % config.eval.every_steps == 0 or is_last):
                window.sums_so_far(step)  # Raises before a useless state is scored.
                cut = config.eval.thresholds[0]
                params = run.parallel.to_score(state.scored)
                try:
                    oiou = evaluator.oiou(params, val_split, cut)
                except PreemptedError as error:
                    if is_new:
                        save()
                    raise _stopped(run, checkpoints, step) from error
                writer.write(step, {f"{val_split.name}/oiou": oiou})
                save(oiou)
                window.restart_clock()
            elif is_new and step % config.checkpoint_every_steps == 0:
                save()
            if is_last:
                break
            if preemption.reached(step):
                if is_new and step % config.checkpoint_every_steps:
                    save()
                raise _stopped(run, checkpoints, step)
            # A step is only queued: the next batch is made and sent while the device
            # works on it. The loop waits only to keep the queue short.
            profiler.before(step)
            batch = run.parallel.feed(window.next_batch(batches))
            with jax.transfer_guard("disallow"):
                state, sums = train_step(state, batch)
            window.add(sums)
            profiler.after(step, sums)
            bar.update()


def _begin(run: Experiment, checkpoints) -> Restored:
    """Returns the last intact checkpoint of the workdir, or a fresh state."""
    restored = checkpoints.restore_latest(run.abstract_state)
    if restored is None:
        logger.info("starting in %s", run.workdir)
        return Restored(run.fresh_state(), Progress(), scored=False)
    logger.info("resuming from step %d of %s", int(restored.state.step), run.workdir)
    return restored


def _batches(run: Experiment, split: Split, first: int):
    config = run.config
    return pipeline.train_batches(
        make_loader(config, split, run.vocabulary),
        config.batch_size,
        seed=config.seed,
        start_step=first,
        num_workers=config.data.num_workers,
        mirror=config.data.flip,
        word_dropout=config.data.word_dropout,
        color_jitter=config.data.color_jitter,
        skip_bad=config.data.skip_bad,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _bar(first: int, total: int) -> tqdm:
    shown = {"total": total, "initial": first, "desc": "training", "unit": "step"}
    return tqdm(disable=True) if jax.process_index() else progress_bar(**shown)


def _stopped(run: Experiment, checkpoints, step: int) -> PreemptedError:
    checkpoints.wait()  # A write may still be running.
    saved = (
        f"Step {step} is saved in {run.workdir}" if step else "No step was completed"
    )
    return PreemptedError(
        f"Received SIGTERM. {saved}; rerun the same command to continue."
    )
