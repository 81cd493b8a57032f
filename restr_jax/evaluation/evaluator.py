"""Runs a model over a split and scores every expression at the image's own size."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from pycocotools import mask as mask_util
from tqdm import tqdm

from restr_jax.data import pipeline, preprocess
from restr_jax.data.splits import Split
from restr_jax.data.text import Vocabulary, tokenize
from restr_jax.evaluation import metrics
from restr_jax.models import ReSTR
from restr_jax.parallel import Parallel


def probability(logits: np.ndarray) -> np.ndarray:
    """Returns the logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def to_mask(logits: np.ndarray, threshold: float) -> np.ndarray:
    """Cuts logits where their probability reaches the threshold."""
    return logits >= np.log(threshold) - np.log1p(-threshold)


class Scored(NamedTuple):
    """One scored expression.

    Attributes:
        record: what `metrics` reads, with the ids and the predicted mask as COCO RLE.
        example: the example that it is part of.
        index: which of the example's expressions it is.
        logits: float32 at the image's own size.
        patch_logits: float32 at the patch grid.
    """

    record: dict
    example: pipeline.Example
    index: int
    logits: np.ndarray
    patch_logits: np.ndarray


class Evaluator:
    """Scores parameters on splits; compiled once."""

    def __init__(
        self, model: ReSTR, config, vocabulary: Vocabulary, parallel: Parallel
    ):
        """Prepares the compiled prediction.

        Raises:
            ValueError: if the devices cannot share a batch.
        """
        parallel.check_batch_size(config.eval.batch_size, "config.eval.batch_size")
        self._config = config
        self._vocabulary = vocabulary
        self._parallel = parallel

        def predict(params: Any, batch: dict):
            return model.apply(
                {"params": params},
                batch["image"],
                batch["tokens"],
                deterministic=True,
            )

        self._predict = parallel.predict_step(predict)

    def score(self, params: Any, split: Split) -> Iterator[Scored]:
        """Yields every expression of a split once, scored."""
        config = self._config
        loader = pipeline.Loader(
            split,
            self._vocabulary,
            tuple(config.model.image_size),
            config.data.resize,
            config.data.max_words,
            config.eval.expressions_per_image,
        )
        total = sum(map(len, split.sentences))
        bar = tqdm(total=total, desc=split.name, unit="expr", disable=None, leave=False)
        with bar:
            for batch, examples in pipeline.eval_batches(
                loader, config.eval.batch_size
            ):
                inputs = {name: batch[name] for name in ("image", "tokens")}
                output = self._predict(params, self._parallel.shard(inputs))
                output = jax.device_get(output)
                for i, example in enumerate(examples):
                    for k in range(len(example.chosen)):
                        yield self._score_one(
                            example,
                            k,
                            output.pixel_logits[i, k],
                            output.patch_logits[i, k],
                            split.sentences[example.record][example.chosen[k]],
                        )
                        bar.update()

    def _score_one(
        self,
        example: pipeline.Example,
        k: int,
        stretched: np.ndarray,
        patch_logits: np.ndarray,
        sentence: str,
    ) -> Scored:
        config = self._config
        mode, cut = config.data.resize, config.eval.threshold
        truth = example.masks[k]
        logits = preprocess.restore(stretched, truth.shape, mode)
        prediction = to_mask(logits, cut)
        intersection, union = metrics.overlap(prediction, truth)
        small_truth = preprocess.fit_mask(truth, stretched.shape, mode)
        small = metrics.overlap(to_mask(stretched, cut), small_truth)
        rle = mask_util.encode(np.asfortranarray(prediction, dtype=np.uint8))
        record = _ids(example, k) | {
            "expression": sentence,
            # The network never sees a longer sentence.
            "length": min(len(tokenize(sentence)), config.data.max_words),
            "intersection": intersection,
            "union": union,
            "iou": intersection / max(union, 1),
            "stretched_intersection": small[0],
            "stretched_union": small[1],
            "mask": {"size": list(truth.shape), "counts": rle["counts"].decode()},
        }
        return Scored(record, example, k, logits, patch_logits)


def _ids(example: pipeline.Example, k: int) -> dict:
    """Names the image, the object and the sentence as the data set does."""
    expressions, objects = example.fields["expressions"], example.fields["objects"]
    i = example.chosen[k]
    position = expressions["object"][i]
    return {
        "image_id": example.fields["image_id"].decode(),
        "object_id": objects["object_id"][position].decode(),
        "sent_id": expressions["sent_id"][i].decode(),
        "kind": expressions["kind"][i].decode(),
    }
