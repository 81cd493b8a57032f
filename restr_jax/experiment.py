"""Builds the objects that training, scoring and prediction share from a config."""

import dataclasses
import functools
import itertools
import logging
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import optax

from restr_jax import precision
from restr_jax.data import glove
from restr_jax.data.data_sets import DataSets
from restr_jax.data.text import Vocabulary
from restr_jax.files import write_whole
from restr_jax.models import ReSTR, build_model, parameters, strict
from restr_jax.parallel import Parallel, warn_of_unused_accelerator
from restr_jax.pretrained import load
from restr_jax.training import train_state
from restr_jax.training.optimizer import make_optimizer
from restr_jax.training.train_state import TrainState
from restr_jax.workdir import checkpoint, model_files
from restr_jax.workdir.checkpoint import Checkpoints
from restr_jax.workdir.config_checks import check_config, claim_workdir
from tfds_builders.storage.paths import typed

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A checked configuration in its workdir.

    Attributes:
        config: the configuration.
        workdir: the output folder.
        parallel: the devices.
        data: the data sets.
        vocabulary: the words, as stored in the workdir.
        model: the network.
        optimizer: the optimizer of its parameters.
    """

    config: Any
    workdir: pathlib.Path
    parallel: Parallel
    data: DataSets
    vocabulary: Vocabulary
    model: ReSTR
    optimizer: optax.GradientTransformation

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes and shardings of the state, from a single trace of the model."""
        abstract = jax.eval_shape(lambda: self._create(self._params()))
        return self.parallel.describe(abstract)

    def given_params(self, like: Any) -> dict[str, np.ndarray]:
        """Returns the parameters from config.init_from, by path.

        Args:
            like: the model's parameters, or their shapes.

        Raises:
            FileNotFoundError: if there are no weights.
            ValueError: if they do not fit the model, or include the words of GloVe.
        """
        config, vocabulary = self.config, self.vocabulary
        if not config.init_from:
            return {}
        weights = load.read(config.init_from)
        if config.data.glove and "language" in weights.parts():
            raise ValueError(
                f"config.init_from={config.init_from} has a word table already; unset "
                "config.data.glove."
            )
        return load.fit(weights, like, self.model, vocabulary.words)

    def fresh_state(self) -> TrainState:
        """Returns the initial training state, with given weights and GloVe vectors.

        Raises:
            FileNotFoundError: if one of their files does not exist.
            ValueError: if they do not fit the model.
        """
        params = self._params()
        given = self.given_params(params)
        params = parameters.put(params, given)
        parts = {path.partition("/")[0] for path in given}
        if given:
            logger.info("%s: loaded from %s", _list(parts), self.config.init_from)
        logger.info("%s: from scratch", _list(params.keys() - parts))
        path, width = self.config.data.glove, self.config.model.language.width
        if path:
            table, absent = glove.read(path, self.vocabulary, width, self.config.seed)
            logger.info(
                "%d of %d words start at random, such as %s: they are not in %s",
                len(absent),
                len(self.vocabulary),
                absent[:5],
                path,
            )
            params = train_state.with_word_vectors(params, table)
        elif self.config.optimizer.freeze_words and "language" not in parts:
            logger.warning(
                "config.optimizer.freeze_words freezes random word vectors; set "
                "config.data.glove to freeze GloVe's"
            )
        return self.parallel.place(self._create(params))

    def params(self, step: int) -> Any:
        """Reads only the parameters from one checkpoint.

        Returns:
            A tree of NumPy arrays.

        Raises:
            ValueError: if the checkpoint is damaged, or belongs to another model.
        """
        folder = self.workdir / "checkpoints" / str(step)
        params = checkpoint.read_params(str(folder))
        strict.check(
            parameters.shapes(params),
            parameters.shapes(self.abstract_state.params),
            f"Checkpoint {folder}",
            "It belongs to another model; use the config that it was trained with.",
        )
        return params

    def checkpoints(self, *, read_only: bool = False) -> Checkpoints:
        """Opens the workdir's checkpoints."""
        keep = self.config.keep_checkpoints
        return Checkpoints(str(self.workdir), keep, read_only=read_only)

    def _create(self, params: Any) -> TrainState:
        averaged = bool(self.config.optimizer.ema_decay)
        return train_state.create(params, self.optimizer, averaged=averaged)

    def _params(self) -> Any:
        config = self.config
        return parameters.init(self.model, config.data.max_words, config.seed)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _new_vocabulary(config, data_sets: DataSets) -> Vocabulary:
    """Returns the words given, or those of the initial weights or the training split.

    GloVe's words follow.
    """
    data = config.data
    how = data.tokenizer, data.padding
    given = data.vocabulary
    if not given and config.init_from and model_files.is_model(config.init_from):
        given = model_files.vocabulary_file(config.init_from)
    if given:
        vocabulary = Vocabulary.load(typed(given), *how)
    else:
        sentences = itertools.chain.from_iterable(data_sets.training.sentences)
        vocabulary = Vocabulary.from_sentences(sentences, *how, data.min_word_count)
    if not data.glove:
        return vocabulary
    # Words absent from training keep GloVe's vectors, close to those of similar words.
    words = glove.words(data.glove, config.model.language.width)
    extended = vocabulary.extended(words, data.glove_words)
    further = len(extended) - len(vocabulary)
    logger.info("%d words, and %d more from %s", len(vocabulary), further, data.glove)
    return extended


def start(config, workdir: str, *, training: bool) -> Experiment:
    """Checks a configuration with its devices and workdir, and builds its objects.

    Args:
        config: the configuration.
        workdir: the workdir of the run; created if training starts in it.
        training: whether a new workdir may be created.

    Raises:
        FileNotFoundError: if the workdir has no trained model, or there is no data.
        ValueError: if the configuration is invalid; the message names the key.
    """
    check_config(config)
    workdir = typed(workdir)
    warn_of_unused_accelerator()
    dtype = precision.compute_dtype(config.dtype)
    parallel = Parallel(config.parallel, config.fsdp)
    if training:  # Its first lines have devices and precision too.
        parallel.check_batch_size(config.batch_size, config.accumulate_steps)
    else:
        logger.info("computing in %s on %s", dtype, parallel)
    optimizer = make_optimizer(config.optimizer)
    data = DataSets(config.data)
    path = pathlib.Path(workdir) / "vocabulary.txt"
    how = config.data.tokenizer, config.data.padding
    if path.exists():
        vocabulary = Vocabulary.load(path, *how)
    elif training:
        vocabulary = _new_vocabulary(config, data)
    else:
        raise FileNotFoundError(
            f"{workdir} holds no trained model (no vocabulary.txt); train one with "
            "`restr train` first, or give the --workdir of a trained model."
        )
    model = build_model(config.model, len(vocabulary))
    run = Experiment(
        config, pathlib.Path(workdir), parallel, data, vocabulary, model, optimizer
    )
    # Validate model and weights before creating the workdir.
    abstract = run.abstract_state
    if training and not path.exists():
        run.given_params(abstract.params)
    # The first process claims the workdir; the others find it claimed.
    parallel.wait_for_others("looked")
    is_first = jax.process_index() == 0
    if not is_first:
        parallel.wait_for_others("claimed")
    claim_workdir(workdir, config)
    if not path.exists():
        write_whole(path, vocabulary.to_text())
    if is_first:
        parallel.wait_for_others("claimed")
    return run
