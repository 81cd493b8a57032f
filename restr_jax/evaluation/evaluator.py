"""Runs a model over a split and scores each expression at the image's own size."""

import collections
import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from restr_jax import precision
from restr_jax.data import pipeline, preprocess
from restr_jax.data.loader import Example, make_loader
from restr_jax.data.masks import to_mask, to_rle
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary, tokenize
from restr_jax.evaluation import metrics
from restr_jax.evaluation.cases import Cases
from restr_jax.models import ReSTR, Segmentation, bound
from restr_jax.parallel import Parallel
from tfds_builders.inspection.progress import progress_bar

# Segmentation calls dispatched ahead of the oldest unfetched one: enough to keep the
# devices busy.
_AHEAD = 2


class Scored(NamedTuple):
    """One scored expression.

    Attributes:
        position: index of the image in the split, index of the expression in the image.
        records: one per threshold: the fields for `metrics`, ids and masks.
        example: the image, with some of its expressions.
        index: index of the expression in the example.
        logits: float32 at the image's own size.
    """

    position: tuple[int, int]
    records: tuple[dict, ...]
    example: Example
    index: int
    logits: np.ndarray


def encode(
    model: ReSTR, dtype: jnp.dtype, params: Any, batch: dict[str, jax.Array]
) -> jax.Array:
    """Encodes the images of a batch, once for all of their expressions."""
    variables, image = precision.cast(({"params": params}, batch["image"]), dtype)
    return model.apply(variables, image, deterministic=True, method=model.encode_image)


def segment(
    model: ReSTR, dtype: jnp.dtype, params: Any, batch: dict[str, jax.Array]
) -> Segmentation:
    """Segments one more expression of every image.

    Memory, outputs and programs do not grow with K, the number of expressions per
    image. The result for an expression does not depend on K.

    Args:
        model: the model.
        dtype: dtype of the computation.
        params: parameters of the model.
        batch: ``visual`` from `encode`, and ``tokens`` [B, 1, L].
    """
    variables, visual = precision.cast(({"params": params}, batch["visual"]), dtype)

    def apply(method, *inputs):
        return model.apply(variables, *inputs, deterministic=True, method=method)

    words = apply(model.encode_text, batch["tokens"])
    return apply(model.segment, visual, *words)


class Evaluator:
    """Scores parameters on splits.

    All expressions of an image share one pass of the vision encoder. While the devices
    work, threads load the next batch and score finished outputs. The batches are
    divided among the processes.
    """

    def __init__(
        self,
        model: ReSTR,
        config,
        vocabulary: Vocabulary,
        parallel: Parallel,
        check: Callable[[], None] = lambda: None,
    ):
        """Prepares the two programs: one encodes images, the other segments.

        Args:
            model: the model to score.
            config: the configuration.
            vocabulary: the vocabulary.
            parallel: the devices.
            check: called before each segmentation; it may raise to stop the scoring.
        """
        self._check = check
        self._config = config
        self._vocabulary = vocabulary
        self._parallel = parallel
        dtype = precision.compute_dtype(config.dtype)
        self._encode, self._segment = (
            parallel.predict_step(bound(program, model, dtype))
            for program in (encode, segment)
        )

    def score(
        self, params: Any, split: Split, thresholds: Sequence[float]
    ) -> Iterator[Scored]:
        """Yields every expression of this process's share of a split once.

        Args:
            params: parameters, replicated on all devices.
            split: the split to score.
            thresholds: probability thresholds, one record for each.
        """
        one = functools.partial(self._score_one, thresholds=thresholds)
        yield from self._each(params, split, one)

    def collect(self, params: Any, split: Split, threshold: float) -> list[dict]:
        """Scores a whole split across all processes.

        Returns:
            One record per expression, in the order of the split.
        """
        scored = self.score(params, split, (threshold,))
        return self.gather([(s.position, s.records) for s in scored])[0]

    def oiou(
        self, params: Any, split: Split, threshold: float, cases: Cases | None = None
    ) -> float:
        """Returns the cumulative IoU of a whole split, across all processes.

        It equals `metrics.cumulative_iou` of the records from `collect`, but is
        cheaper: no mask is stretched or encoded.

        Args:
            params: parameters, replicated on all devices.
            split: the split to score.
            threshold: probability threshold of the masks.
            cases: expressions of the split to draw.
        """
        known = {"threshold": threshold, "cases": cases}
        count = functools.partial(self._overlap_of, **known)
        sums = np.zeros(2, np.int64)
        for overlap in self._each(params, split, count):
            sums += overlap
        own = dict(zip(("intersection", "union"), sums.tolist(), strict=True))
        return metrics.cumulative_iou(self._parallel.gather([own]))

    def gather(
        self, scored: list[tuple[tuple[int, int], tuple[dict, ...]]]
    ) -> list[list[dict]]:
        """Gathers the records of all processes.

        Args:
            scored: (position, records) of every expression of this process.

        Returns:
            A list per threshold, with one record per expression in the order of the
            split; the same in every process.
        """
        everything = sorted(self._parallel.gather(scored), key=lambda pair: pair[0])
        return [list(some) for some in zip(*(r for _, r in everything), strict=True)]

    def _each(self, params: Any, split: Split, work: Callable) -> Iterator:
        """Yields ``work(example, k, logits)`` for every expression."""
        total = sum(map(len, split.sentences))
        bar = progress_bar(total=total, desc=split.name, unit="expr", leave=False)
        workers = os.cpu_count() or 1
        on_devices: collections.deque = collections.deque()
        in_threads: collections.deque = collections.deque()
        with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:

            def fetch() -> None:
                output, examples, k = on_devices.popleft()
                pixels = jax.device_get(output.pixel_logits)  # Waits for the devices.
                for i, example in enumerate(examples):
                    if k < len(example.masks):
                        in_threads.append(pool.submit(work, example, k, pixels[i, 0]))

            def finish(most: int) -> Iterator:
                while len(in_threads) > most:
                    yield in_threads.popleft().result()
                    bar.update()

            for started in self._start(params, split):
                on_devices.append(started)
                if len(on_devices) > _AHEAD:
                    fetch()
                yield from finish(2 * workers)
            while on_devices:
                fetch()
            yield from finish(0)

    def _start(self, params: Any, split: Split) -> Iterator:
        """Dispatches segmentation and yields (output on the devices, examples, k).

        Images are sorted by their number of expressions, so few images of a batch lack
        a k-th expression. The image with the most expressions sets the number of calls.
        """
        for batch, examples in self._batches(split):
            image = self._parallel.shard({"image": batch["image"]})
            visual = {"visual": self._encode(params, image)}
            for k in range(max(len(example.masks) for example in examples)):
                self._check()
                words = {"tokens": batch["tokens"][:, k : k + 1]}
                given = visual | self._parallel.shard(words)
                yield self._segment(params, given), examples, k

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

    def _overlap_of(
        self,
        example: Example,
        k: int,
        own: np.ndarray,
        threshold: float,
        cases: Cases | None,
    ) -> tuple[int, int]:
        truth, position = example.masks[k], _position(example, k)
        counts = example.object_of(k) >= 0  # Others are excluded from oIoU.
        is_case = cases is not None and position in cases
        if not counts and not is_case:
            return 0, 0
        logits = preprocess.restore(own, truth.shape, self._config.data.resize)
        mask = to_mask(logits, threshold)
        if is_case:
            cases.draw(position, example, k, mask)
        return metrics.overlap(mask, truth) if counts else (0, 0)

    def _score_one(
        self,
        example: Example,
        k: int,
        own: np.ndarray,
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
                # The network's own output, at the size that other work scores at.
                small = to_mask(own, threshold)
                stretched = {"stretched_mask": to_rle(small)}
            else:
                small = preprocess.stretch_mask(mask, own.shape)
            record = ids | {"pixels": int(np.count_nonzero(mask))}
            record |= _overlap("", mask, truth)
            record |= _overlap("stretched_", small, small_truth)
            if record["no_target"]:
                record["iou"] = float(record["pixels"] == 0)
            records.append(record | {"mask": to_rle(mask)} | stretched)
        position = _position(example, k)
        return Scored(position, tuple(records), example, k, logits)


def _position(example: Example, k: int) -> tuple[int, int]:
    """Returns the index of the image in its split, of the expression in the image."""
    return example.record, int(example.chosen[k])


def _overlap(prefix: str, mask: np.ndarray, truth: np.ndarray) -> dict:
    intersection, union = metrics.overlap(mask, truth)
    return {
        f"{prefix}intersection": intersection,
        f"{prefix}union": union,
        f"{prefix}iou": intersection / max(union, 1),
    }


def _ids(example: Example, k: int, max_words: int) -> dict:
    """Returns the data set's ids of the image, the object and the expression."""
    expressions, objects = example.fields["expressions"], example.fields["objects"]
    i, place = example.chosen[k], example.object_of(k)
    return {
        "image_id": example.fields["image_id"].decode(),
        "object_id": objects["object_id"][place].decode() if place >= 0 else "",
        "no_target": place < 0,
        "sent_id": expressions["sent_id"][i].decode(),
        "kind": expressions["kind"][i].decode(),
        "expression": example.sentences[k],
        # The network never sees more words.
        "length": min(len(tokenize(example.sentences[k])), max_words),
    }
