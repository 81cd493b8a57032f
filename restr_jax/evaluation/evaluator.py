"""Runs a model over a split and scores every expression at the image's own size."""

import collections
import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from restr_jax import precision
from restr_jax.data import pipeline, preprocess
from restr_jax.data.loader import Example, make_loader
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary, tokenize
from restr_jax.evaluation import metrics
from restr_jax.masks import to_mask, to_rle
from restr_jax.models import ReSTR, Segmentation
from restr_jax.parallel import Parallel


class Scored(NamedTuple):
    """One scored expression.

    Attributes:
        position: number of its image in the split, and its own in the image.
        records: one per threshold: what `metrics` reads, with the ids and the masks.
        example: the image, with some of its expressions.
        index: which of the example's expressions it is.
        logits: float32 at the image's own size.
        patch_logits: float32 at the patch grid.
    """

    position: tuple[int, int]
    records: tuple[dict, ...]
    example: Example
    index: int
    logits: np.ndarray
    patch_logits: np.ndarray


def predict(
    model: ReSTR, dtype: jnp.dtype, params: Any, batch: dict[str, jax.Array]
) -> Segmentation:
    """Segments a batch, one expression of every image after the other.

    So memory does not grow with K, what is computed of an expression does not depend on
    K, and places that no image of the batch uses cost nothing.
    """
    variables, batch = precision.cast(({"params": params}, batch), dtype)

    def apply(method, *inputs):
        return model.apply(variables, *inputs, deterministic=True, method=method)

    visual = apply(model.encode_image, batch["image"])
    words, word_mask = apply(model.encode_text, batch["tokens"])

    def segment(one):
        words, word_mask, valid = one

        def run():
            return apply(model.segment, visual, words[:, None], word_mask[:, None])

        def skip():
            return jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(run)
            )

        return jax.lax.cond(valid.any(), run, skip)

    given = words, word_mask, batch["valid"]
    output = jax.lax.map(segment, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), given))
    return jax.tree.map(lambda x: jnp.moveaxis(x[:, :, 0], 0, 1), output)


class Evaluator:
    """Scores parameters on splits.

    All expressions of an image share one pass of the vision encoder. While the devices
    work on a batch, threads load the next and score the one before. Several processes
    share the batches.
    """

    def __init__(
        self,
        model: ReSTR,
        config,
        vocabulary: Vocabulary,
        parallel: Parallel,
        check: Callable[[], None] = lambda: None,
    ):
        """Prepares the compiled prediction.

        Args:
            model: what is scored.
            config: the configuration.
            vocabulary: the words.
            parallel: the devices.
            check: called between batches; it may raise to stop the scoring.
        """
        self._check = check
        self._config = config
        self._vocabulary = vocabulary
        self._parallel = parallel
        dtype = precision.compute_dtype(config.dtype)
        self._predict = parallel.predict_step(functools.partial(predict, model, dtype))

    def score(
        self, params: Any, split: Split, thresholds: Sequence[float]
    ) -> Iterator[Scored]:
        """Yields every expression of this process's share of a split once.

        Args:
            params: one copy on every device.
            split: what is scored.
            thresholds: probabilities, each a record's.
        """
        total = sum(map(len, split.sentences))
        bar = tqdm(total=total, desc=split.name, unit="expr", disable=None, leave=False)
        queued: collections.deque = collections.deque()
        with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:

            def finish() -> Iterator[Scored]:
                for scored in self._finish(pool, *queued.popleft(), thresholds):
                    bar.update()
                    yield scored

            for batch, examples in self._batches(split):
                self._check()
                output = self._predict(params, self._parallel.shard(batch))
                queued.append((output, examples))
                if len(queued) > 1:
                    yield from finish()
            while queued:
                yield from finish()

    def collect(self, params: Any, split: Split, threshold: float) -> list[dict]:
        """Scores a whole split, over all processes.

        Returns:
            A record per expression, in the order of the split.
        """
        scored = self.score(params, split, (threshold,))
        return self.gather([(s.position, s.records) for s in scored])[0]

    def gather(
        self, scored: list[tuple[tuple[int, int], tuple[dict, ...]]]
    ) -> list[list[dict]]:
        """Brings the records of all processes together.

        Args:
            scored: (position, records) of every expression of this process.

        Returns:
            For each threshold a record per expression, in the order of the split; the
            same in every process.
        """
        everything = sorted(self._parallel.gather(scored), key=lambda pair: pair[0])
        return [list(some) for some in zip(*(r for _, r in everything), strict=True)]

    def _batches(self, split: Split) -> Iterator:
        config = self._config
        loader = make_loader(config, split, self._vocabulary)
        return pipeline.eval_batches(
            loader,
            config.eval.images_per_device,
            num_devices=self._parallel.num_local_devices,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def _finish(
        self,
        pool: concurrent.futures.Executor,
        output: Segmentation,
        examples: list[Example],
        thresholds: Sequence[float],
    ) -> Iterator[Scored]:
        """Scores what the devices made of a batch, an image's expression a task."""
        output = jax.device_get(output)  # Waits for them.

        def score_one(place: tuple[int, int]) -> Scored:
            i, k = place
            logits, patches = output.pixel_logits[i, k], output.patch_logits[i, k]
            return self._score_one(examples[i], k, logits, patches, thresholds)

        places = [(i, k) for i, e in enumerate(examples) for k in range(len(e.masks))]
        return pool.map(score_one, places)

    def _score_one(
        self,
        example: Example,
        k: int,
        own: np.ndarray,
        patch_logits: np.ndarray,
        thresholds: Sequence[float],
    ) -> Scored:
        config, truth = self._config, example.masks[k]
        logits = preprocess.restore(own, truth.shape, config.data.resize)
        ids = _ids(example, k, config.data.max_words)
        small_truth = preprocess.stretch_mask(truth, own.shape)
        records = []
        for threshold in thresholds:
            mask = to_mask(logits, threshold)
            stretched = {}
            if config.data.resize == "stretch":
                # What the network says itself, at the size that others score at.
                small = to_mask(own, threshold)
                stretched = {"stretched_mask": to_rle(small)}
            else:
                small = preprocess.stretch_mask(mask, own.shape)
            record = ids | _overlap("", mask, truth)
            record |= _overlap("stretched_", small, small_truth)
            records.append(record | {"mask": to_rle(mask)} | stretched)
        position = example.record, int(example.chosen[k])
        return Scored(position, tuple(records), example, k, logits, patch_logits)


def _overlap(prefix: str, mask: np.ndarray, truth: np.ndarray) -> dict:
    intersection, union = metrics.overlap(mask, truth)
    return {
        f"{prefix}intersection": intersection,
        f"{prefix}union": union,
        f"{prefix}iou": intersection / max(union, 1),
    }


def _ids(example: Example, k: int, max_words: int) -> dict:
    """Names the image, the object and the sentence as the data set does."""
    expressions, objects = example.fields["expressions"], example.fields["objects"]
    i = example.chosen[k]
    return {
        "image_id": example.fields["image_id"].decode(),
        "object_id": objects["object_id"][expressions["object"][i]].decode(),
        "sent_id": expressions["sent_id"][i].decode(),
        "kind": expressions["kind"][i].decode(),
        "expression": example.sentences[k],
        # The network never sees a longer sentence.
        "length": min(len(tokenize(example.sentences[k])), max_words),
    }
