"""Analyses the attention of a trained model's class seed.

    python -m restr_jax.analysis --config=configs/ablations/vme_4.py --workdir=runs/vme

Writes two kinds of files into the workdir's `analysis/`:

* shares-*.json: the shares of patches, words, padding and the seed itself in the
  attention of each layer. Table 3a has the paper's shares for VME, whose seed attends
  to patches and words at once.
* Figures: the adaptive classifier's map over patches (Eq. 9) and, where the seed
  attends to patches, its attention in each layer.
"""

import itertools
import json
import logging
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Bool, Float
from ml_collections import config_flags

from restr_jax import command_line, experiment
from restr_jax.data import pipeline, preprocess
from restr_jax.data.loader import Example, make_loader
from restr_jax.data.masks import probability
from restr_jax.data.splits import Split
from restr_jax.drawing import overlay, panels
from restr_jax.experiment import Experiment
from restr_jax.files import write_whole
from restr_jax.models import ReSTR, Segmentation, seed_attention
from restr_jax.models.language import PAD_ID
from tfds_builders.markdown import table

logger = logging.getLogger(__name__)

TOKENS = ("vision", "language", "padding", "seed")
# Table 3a, layers f1 to f4. It omits the remainder: the seed's attention to itself.
PAPER_VME = {
    "vision": (0.824, 0.989, 0.987, 0.981),
    "language": (0.168, 0.010, 0.012, 0.017),
}


class Analysed(NamedTuple):
    """The analysis of one expression.

    Attributes:
        example: the example that contains the expression.
        index: the expression's index in the example.
        shares: [layers, 4], the shares of `TOKENS` in the seed's attention.
        patch_logits: [h, w], the adaptive classifier's logits.
        patch_attention: [layers, h, w], the seed's attention to patches; no layers
            where it attends to none.
    """

    example: Example
    index: int
    shares: np.ndarray
    patch_logits: np.ndarray
    patch_attention: np.ndarray


def predict_attention(
    model: ReSTR, params: Any, batch: dict[str, Array]
) -> tuple[Segmentation, Float[Array, "B K layers T"]]:
    """Runs a model and returns the seed's attention, averaged over heads.

    Args:
        model: a model of any fusion kind.
        params: its parameters.
        batch: image [B, H, W, 3] and tokens [B, K, L].

    Returns:
        The model's output, and the seed's attention to T tokens: all patches (VME
        only), all L words, and the seed itself.
    """
    output, captured = model.apply(
        {"params": params},
        batch["image"],
        batch["tokens"],
        deterministic=True,
        mutable=["intermediates"],
    )
    return output, seed_attention.by_layer(model, captured, batch["tokens"])


def shares(
    attention: Float[Array, "*b layers T"], is_word: Bool[Array, "*b L"]
) -> Float[Array, "*b layers 4"]:
    """Sums the seed's attention over each kind of token, in the order of `TOKENS`."""
    seed_at = attention.shape[-1] - 1
    words_at = seed_at - is_word.shape[-1]
    patches, words, seed = jnp.split(attention, [words_at, seed_at], axis=-1)
    is_word = is_word[..., None, :]
    sums = (
        patches.sum(-1),
        jnp.where(is_word, words, 0.0).sum(-1),
        jnp.where(is_word, 0.0, words).sum(-1),
        seed.sum(-1),
    )
    return jnp.stack(sums, axis=-1)


def analyse(run: Experiment, params: Any, split: Split) -> Iterator[Analysed]:
    """Yields the analysis of every expression in a split."""
    config, model = run.config, run.model

    def predict(params, batch):
        output, attention = predict_attention(model, params, batch)
        logits = output.patch_logits
        if model.fusion.kind == "vme":
            patches = attention[..., : -config.data.max_words - 1]
        else:
            patches = attention[..., :0, :0]
        maps = patches.reshape(*patches.shape[:-1], *logits.shape[-2:])
        return shares(attention, batch["tokens"] != PAD_ID), logits, maps

    predict = run.parallel.predict_step(predict)
    loader = make_loader(config, split, run.vocabulary)
    for batch, examples in pipeline.eval_batches(
        loader,
        config.eval.images_per_device,
        num_devices=run.parallel.num_local_devices,
    ):
        inputs = {name: batch[name] for name in ("image", "tokens")}
        found = jax.device_get(predict(params, run.parallel.shard(inputs)))
        for i, example in enumerate(examples):
            for k in range(len(example.chosen)):
                yield Analysed(example, k, *(array[i, k] for array in found))


def analyse_workdir(
    config, workdir: str, split_name: str, limit: int | None = None
) -> dict:
    """Analyses a trained model on a split and writes shares and figures.

    Args:
        config: the workdir's configuration; ``config.eval`` sets the checkpoint and
            the number of figures.
        workdir: the workdir of a trained model.
        split_name: a split of the data set, or "dataset:split".
        limit: the maximum number of expressions.

    Returns:
        The content of shares-*.json: means over heads and expressions, a row per layer.

    Raises:
        FileNotFoundError: if the trained model or the data set does not exist.
        ValueError: if the configuration is invalid.
    """
    run = experiment.start(config, workdir, training=False)
    split = run.data.scored(split_name)
    checkpoints = run.checkpoints(read_only=True)
    step = checkpoints.select(config.eval.checkpoints)[-1]
    checkpoints.close()
    params = run.parallel.replicate(run.params(step))

    name = f"{split.name.replace('/', '-').replace(':', '-')}-{step}"
    folder = run.workdir / "analysis"
    folder.mkdir(exist_ok=True)
    found = []
    for i, analysed in enumerate(itertools.islice(analyse(run, params, split), limit)):
        found.append(analysed.shares)
        if i < config.eval.num_figures:
            _draw(folder / f"{name}-{i:06d}.png", analysed, config)
    layers = np.mean(found, axis=0, dtype=np.float64)
    result = {
        "split": split.name,
        "step": step,
        "kind": config.model.fusion.kind,
        "num_expressions": len(found),
        "layers": [dict(zip(TOKENS, row, strict=True)) for row in layers.tolist()],
    }
    text = json.dumps(result, indent=2) + "\n"
    write_whole(folder / f"shares-{name}.json", text)
    logger.info("wrote shares and figures to %s", folder)
    return result


def describe(result: dict) -> str:
    """Returns a Markdown table of the shares, next to the paper's where available."""
    has_paper = result["kind"] == "vme" and len(result["layers"]) == 4
    columns = [*TOKENS, *(f"{t}, paper" for t in PAPER_VME if has_paper)]
    rows = []
    for i, layer in enumerate(result["layers"]):
        values = [layer[t] for t in TOKENS]
        values += [paper[i] for paper in PAPER_VME.values() if has_paper]
        rows.append([i + 1, *(f"{100 * value:.1f}" for value in values)])
    title = (
        f"Attention of the seed, {result['kind'].upper()}, {result['split']}, "
        f"{result['num_expressions']} expressions, in percent"
    )
    return "\n".join([title, "", *table(["layer", *columns], rows, "lr")])


def _draw(path: pathlib.Path, analysed: Analysed, config) -> None:
    """Draws the image with its object, the patch map, and the seed's attention."""
    example, index = analysed.example, analysed.index
    image, truth = example.image, example.masks[index]
    maps = [("classifier", probability(analysed.patch_logits), 1.0)]
    for i, attention in enumerate(analysed.patch_attention, start=1):
        maps.append((f"seed, layer {i}", attention, attention.max()))
    extent = _extent(
        image.shape[:2], tuple(config.model.image_size), config.data.resize
    )
    options = {"cmap": "magma", "vmin": 0, "extent": extent}
    panels.draw_row(
        path,
        example.sentences[index],
        image.shape[:2],
        [
            ("ground truth", overlay.draw(image, [truth]), {}),
            *((title, shown, options | {"vmax": top}) for title, shown, top in maps),
        ],
    )


def _extent(
    image_size: tuple[int, int], input_size: tuple[int, int], mode: str
) -> tuple[float, float, float, float]:
    """Returns the edges of the network's input in pixels of the image.

    Returns:
        (left, right, bottom, top); with a letterbox they lie outside the image.
    """
    top, left, height, width = preprocess.inner_box(image_size, input_size, mode)
    y, x = image_size[0] / height, image_size[1] / width
    return -left * x, (input_size[1] - left) * x, (input_size[0] - top) * y, -top * y


def main() -> None:
    """Analyses one workdir."""
    config = _CONFIG.value
    split = _SPLIT.value or config.data.val_split
    print(describe(analyse_workdir(config, _WORKDIR.value, split, _LIMIT.value)))


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "As in main.py.")
    _WORKDIR = flags.DEFINE_string("workdir", None, "Workdir of a trained model.")
    _SPLIT = flags.DEFINE_string("split", None, "Default: config.data.val_split.")
    _LIMIT = flags.DEFINE_integer("limit", None, "Maximum number of expressions.", 1)
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(main)
