"""The paper's cost figures, and the counting rules that reproduce them.

    python -m benchmarks.paper_cost

The paper does not name its counter. One of several possible counting rules reproduces
each figure to its last digit:

* Table 3b covers the fusion at 480 x 480, without its first two linears and the
  LayerNorms of its encoders' outputs.
* Multiply-adds are those of matrix products, plus five per value of a LayerNorm. A
  class token stays among the patches through the fusion. Matrix products alone, without
  the token there, come to 31.29 G, 15.92 G and 52.22 G.
* The multiply-adds of Table 5 are those of the preset `released` at 320 x 320. Each
  upsampling of the decoder precedes its linear, and upsampling itself is not counted.
  Our model runs the linear first: the same function at a quarter of the cost.
* The parameters of Table 5 are those of the preset `paper` with a language MLP of 1200,
  as released, where the paper's text says 3072. They exclude the tables of positions
  and words, which gives 122.89 M and 108.72 M, and the LayerNorms outside the vision
  encoder. The column "our model" excludes only the word table.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax

from configs import gref
from restr_jax.cost import Product, Trace, TracedModel, trace, trace_model
from restr_jax.models.parameters import count
from tfds_builders.markdown import table

_MACS_PER_NORMALISED_VALUE = 5
_FUSION_LINEARS = ("visual_linear", "language_linear")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the paper and ours.

    Attributes:
        name: the table and the quantity.
        unit: "M" parameters or "G" multiply-adds.
        printed: the paper's value, in that unit.
        reached: the count by the rules in the docstring of this module.
        executed: the parameters or multiply-adds of our model.
    """

    name: str
    unit: str
    printed: float
    reached: float
    executed: float


def figures(get_config: Callable) -> list[Figure]:
    """Counts every figure of Tables 3b and 5.

    Args:
        get_config: the function of configs/gref.py.
    """
    return [*_table_3b(get_config), *_table_5(get_config)]


def _table_3b(get_config: Callable) -> list[Figure]:
    found = []
    for name, kind, shared, parameters, macs in (
        ("VME", "vme", False, 28.35, 31.36),
        ("IME", "ime", False, 28.35, 15.96),
        ("CME", "cme", False, 28.35, 15.96),
        ("CME, shared", "cme", True, 14.18, 15.96),
    ):
        config = get_config()
        config.model.fusion.update(kind=kind, share_weights=shared)
        # The layers before the fusion do not change its costs.
        config.model.vision.num_layers = config.model.language.num_layers = 0
        traced = trace_model(config.model, config.data.max_words)
        own = traced.variables["params"]["fusion"]
        whole = count(own, lambda p: not p.startswith(_FUSION_LINEARS))
        norms = count(own, lambda p: p.startswith("norm"))
        name = f"Table 3b, {name}"
        found.append(_parameters(name, parameters, whole - norms, whole))
        reached = _as_printed(_fusion(traced, class_token=True))
        executed = _fusion(traced, class_token=False)
        found.append(_multiply_adds(name, macs, reached, executed))
    return found


def _table_5(get_config: Callable) -> list[Figure]:
    found = []
    for name, shared, parameters, macs in (
        ("Table 5, CME", False, 122.87, 52.29),
        ("Table 5, CME, shared", True, 108.70, 52.29),
    ):
        config = get_config()
        config.model.image_size = (320, 320)
        config.model.language.mlp_dim = 1200
        config.model.fusion.share_weights = shared
        params = trace_model(config.model, config.data.max_words).variables["params"]
        ours = count(params, lambda p: not p.endswith("words/embedding"))
        reached = count(params, _printed)
        found.append(_parameters(name, parameters, reached, ours))

        config = get_config("released")
        config.model.image_size = (320, 320)
        config.model.fusion.share_weights = shared
        traced = trace_model(config.model, config.data.max_words)
        reached, whole = _whole_as_printed(traced), traced.trace
        found.append(_multiply_adds(name, macs, reached, whole))
    return found


def _whole_as_printed(traced: TracedModel) -> int:
    """Counts a model's multiply-adds as Table 5 does."""
    products = traced.trace.products
    with_token = _fusion(traced, class_token=True)
    without = _fusion(traced, class_token=False)
    return (
        _as_printed(traced.trace)
        # Each of these processes four times as many pixels.
        + 3 * sum(p.macs for p in products if _upsampled_first(p))
        + _as_printed(with_token)
        - _as_printed(without)
    )


def _printed(path: str) -> bool:
    """Returns whether Table 5 counts a parameter."""
    if path.endswith(("words/embedding", "positions")):
        return False
    return path.startswith("vision/") or "/norm" not in path


def _upsampled_first(product: Product) -> bool:
    """Returns whether the paper's decoder upsamples before this linear."""
    return product.path[:1] == ("decoder",) and product.path[-1] != "to_logit"


def _macs(traced: Trace) -> int:
    return sum(p.macs for p in traced.products)


def _as_printed(traced: Trace) -> int:
    normalised = sum(traced.normalised.values())
    return _macs(traced) + _MACS_PER_NORMALISED_VALUE * normalised


def _fusion(traced: TracedModel, *, class_token: bool) -> Trace:
    """Traces the fusion alone, without its two linears."""
    model, variables, (image, tokens) = traced.model, traced.variables, traced.inputs

    def shapes_of(method, *inputs):
        apply = functools.partial(model.apply, method=method, deterministic=True)
        return jax.eval_shape(apply, variables, *inputs)

    visual = shapes_of(model.encode_image, image)
    patches = (1, visual.shape[1] + class_token, visual.shape[2])
    visual = jax.ShapeDtypeStruct(patches, visual.dtype)
    words, word_mask = shapes_of(model.encode_text, tokens)

    def fuse(variables, *features):
        return model.apply(
            variables,
            *features,
            method=lambda model, *f: model.fusion(*f, deterministic=True),
        )

    own = trace(fuse, variables, visual, words, word_mask)
    layers = [p for p in own.products if p.path[-1] not in _FUSION_LINEARS]
    return Trace(layers, own.normalised)


def _parameters(name: str, printed: float, reached: int, ours: int) -> Figure:
    return Figure(f"{name}, parameters", "M", printed, reached / 1e6, ours / 1e6)


def _multiply_adds(name: str, printed: float, reached: int, ours: Trace) -> Figure:
    executed = _macs(ours)
    return Figure(f"{name}, multiply-adds", "G", printed, reached / 1e9, executed / 1e9)


def describe(get_config: Callable) -> str:
    """Returns a Markdown table of all figures, and the counting rules.

    Args:
        get_config: the function of configs/gref.py.
    """
    lines = table(
        ["figure", "paper", "reproduced", "our model"],
        [
            [
                f.name,
                f"{f.printed:.2f} {f.unit}",
                f"{f.reached:.2f} {f.unit} ({f.reached:.4f})",
                f"{f.executed:.2f} {f.unit}",
            ]
            for f in figures(get_config)
        ],
        "lr",
    )
    reading = __doc__.split("\n\n", 2)[2].rstrip()
    return "\n".join([*lines, "", reading])


if __name__ == "__main__":
    print(describe(gref.get_config))
