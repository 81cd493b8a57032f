"""Training, with scoring during the run and at the end.

Each round of the loop first handles the state after `step` updates (metrics, score,
checkpoint), then adds one update. So a resumed run starts with the part of a round that
the stopped run had left.
"""

import contextlib
import logging

import jax

from restr_jax import experiment, precision
from restr_jax.data import coverage, pipeline
from restr_jax.data.data_sets import listed
from restr_jax.data.loader import make_loader
from restr_jax.data.splits import Split
from restr_jax.evaluation import score_run
from restr_jax.evaluation.cases import Cases
from restr_jax.evaluation.evaluator import Evaluator
from restr_jax.experiment import Experiment
from restr_jax.files import locked
from restr_jax.training.metric_writer import MetricWriter
from restr_jax.training.optimizer import frozen_of, rates_by_part
from restr_jax.training.preemption import PreemptedError, Preemption
from restr_jax.training.profiling import Profiler
from restr_jax.training.step_metrics import Window
from restr_jax.training.terminal import Terminal
from restr_jax.training.train_state import Progress
from restr_jax.training.train_step import make_train_step
from restr_jax.workdir.checkpoint import Restored

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

        def until_end(resource):
            return opened.enter_context(contextlib.closing(resource))

        checkpoints = until_end(run.checkpoints())
        state, progress, scored = _begin(run, checkpoints, train_split)
        first = int(state.step)
        batches = until_end(_batches(run, train_split, first))
        train_step = run.parallel.train_step(
            make_train_step(run.model, run.optimizer, config), run.abstract_state
        )
        writer = until_end(_writer(run, first, progress.lines))
        profiler = until_end(Profiler(config.profile, run.workdir / "profile", first))
        val_oiou, cases = f"{val_split.name}/oiou", Cases(val_split, config.seed)
        terminal = until_end(Terminal(first, total, writer.last, val_oiou))
        skip = config.optimizer.nonfinite == "skip"
        window = Window(total, progress.window, skip_nonfinite=skip)

        def save(oiou: float | None = None) -> None:
            done = Progress(writer.lines, window.sums_so_far(step))
            checkpoints.save(step, run.parallel.to_save(state), oiou, done)

        for step in range(first, total + 1):
            is_new, is_last = step > first, step == total
            if is_new and (step % config.log_every_steps == 0 or is_last):
                _write(writer, step, window.close(step), config.optimizer)
            # A run that received SIGTERM while scoring has saved this step unscored.
            first_too = step > 0 or config.eval.at_start
            to_score = is_new or (first_too and not scored)
            if to_score and (step % config.eval.every_steps == 0 or is_last):
                window.sums_so_far(step)  # Raises before a useless state is scored.
                params = run.parallel.to_score(state.scored)
                cut = config.eval.thresholds[0]
                try:
                    oiou = evaluator.oiou(params, val_split, cut, cases)
                except PreemptedError as error:
                    if is_new:
                        save()
                    raise _stopped(run, checkpoints, step) from error
                writer.write(step, {val_oiou: oiou})
                writer.write_pictures(step, cases.collect(run.parallel))
                save(oiou)
                window.restart_clock()  # Scoring is no training time.
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
            with terminal.compiling(), jax.transfer_guard("disallow"):
                state, sums = train_step(state, batch)
            window.add(sums)
            profiler.after(step, sums)
            terminal.step(step + 1, window)


def _begin(run: Experiment, checkpoints, split: Split) -> Restored:
    """Returns the last intact checkpoint of the workdir, or a fresh state."""
    restored = checkpoints.restore_latest(run.abstract_state)
    if restored is None:
        restored = Restored(run.fresh_state(), Progress(), scored=False)
    _introduce(run, split, int(restored.state.step))
    return restored


def _introduce(run: Experiment, split: Split, first: int) -> None:
    """Logs the size of the run."""
    config, count = run.config, run.config.data.expressions_per_image
    is_frozen = frozen_of(config.optimizer) or (lambda path: False)
    sizes = [
        (x.size, not is_frozen(path))
        for path, x in jax.tree_util.tree_leaves_with_path(run.abstract_state.params)
    ]
    logger.info(
        "training in %s on %s: %s parameters, %s of them trained",
        precision.compute_dtype(config.dtype),
        run.parallel,
        f"{sum(size for size, _ in sizes):,}",
        f"{sum(size for size, is_trained in sizes if is_trained):,}",
    )
    logger.info(
        "data: %s, %s images, %s expressions; a batch has %d images, K=%d %s",
        split.name,
        f"{len(split.source):,}",
        f"{sum(map(len, split.sentences)):,}",
        config.batch_size,
        count,
        "expression of each" if count == 1 else "expressions of each",
    )
    steps = config.optimizer.total_steps
    parts = len(make_loader(config, split, run.vocabulary).groups())
    logger.info(
        "%s steps (%.3g epochs), %s %s",
        f"{steps:,}",
        steps * config.batch_size / parts,
        f"resuming from step {first} of" if first else "starting in",
        run.workdir,
    )


def _writer(run: Experiment, first: int, lines: int) -> MetricWriter:
    writer = MetricWriter(str(run.workdir), first, lines)
    writer.write_config(run.config.to_json(indent=2))
    return writer


def _write(writer: MetricWriter, step: int, means: dict, optimizer) -> None:
    """Writes training metrics, with the learning rate of each part for TensorBoard."""
    rates = rates_by_part(optimizer, means["learning_rate"])
    writer.write(step, means, {f"learning_rate/{k}": x for k, x in rates.items()})


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


def _stopped(run: Experiment, checkpoints, step: int) -> PreemptedError:
    checkpoints.wait()  # A write may still be running.
    saved = (
        f"Step {step} is saved in {run.workdir}" if step else "No step was completed"
    )
    return PreemptedError(
        f"Received SIGTERM. {saved}; rerun the same command to continue."
    )
