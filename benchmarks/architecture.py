"""Draws the model with the names of its classes and the shapes of its tensors.

    python -m benchmarks.architecture --output=docs/architecture.svg

Names, numbers of layers and shapes come from a traced model of configs/common.py:
ViT-B/16 at 480 x 480 pixels. Nothing in the picture is written by hand except for the
explanations, so run the command again after a change of the model.
"""

import argparse
import functools
import pathlib
from html import escape
from typing import Any

import jax
import jax.numpy as jnp

from configs import common
from restr_jax.drawing import gallery, overlay
from restr_jax.models import build_model, language, parameters, upsampling, vision
from restr_jax.models.decoder import ToLogit
from restr_jax.models.layers import EncoderBlock, TransformerEncoder

_WIDTH, _HEIGHT = 760, 856
_LEFT, _RIGHT = 200, 560  # centres of the two columns
_IMAGES, _EXPRESSIONS = 2, 3  # sizes that no other axis has; shown as B and K


def trace() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    """Traces the model.

    Returns:
        The model, the outputs of its modules by path, and its parameters' shapes.
    """
    config = common.get_config()
    model = build_model(config.model, vocab_size=1)
    inputs = (
        jax.ShapeDtypeStruct((_IMAGES, *model.vision.image_size, 3), jnp.float32),
        jax.ShapeDtypeStruct((_IMAGES, _EXPRESSIONS, config.data.max_words), jnp.int32),
    )
    init = functools.partial(model.init, jax.random.key(0), deterministic=True)
    variables = jax.eval_shape(init, *inputs)
    run = functools.partial(
        model.apply, deterministic=True, capture_intermediates=True, mutable=True
    )
    _, seen = jax.eval_shape(run, variables, *inputs)
    calls = parameters.flatten(seen["intermediates"])
    outputs = {path.removesuffix("__call__"): call[0] for path, call in calls.items()}
    outputs |= {"image": inputs[0], "tokens": inputs[1]}
    return model, outputs, parameters.shapes(variables["params"])


def axes(array: Any) -> str:
    """Formats the shape of an output, with B for images and K for expressions."""
    sizes = list(map(str, array.shape))
    sizes[0] = "B"
    if array.shape[1] == _EXPRESSIONS:
        sizes[1] = "K"
    return " × ".join(sizes)


class Drawing:
    """Collects the elements of an SVG."""

    def __init__(self):
        """Starts an empty drawing."""
        self.elements: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Writes one line, centred at x unless its kind is aligned otherwise."""
        self.elements.append(f'<text x="{x}" y="{y}" class="{kind}">{words}</text>')

    def box(self, x: float, y: float, w: float, h: float, kind: str = "") -> None:
        """Draws a box by its left upper corner and size."""
        self.elements.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" class="{kind}"/>'
        )

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draws a line through points, with a head at the last one."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.elements.append(f'<polyline points="{path}"/>')

    def module(
        self, x: float, y: float, w: float, title: str, lines: list[str], kind: str = ""
    ) -> float:
        """Draws a box with a title and lines centred at x; returns its lower edge."""
        height = 34 + 21 * len(lines)
        self.box(x - w / 2, y, w, height, kind)
        self.text(x, y + 23, title, "title")
        for number, line in enumerate(lines):
            self.text(x, y + 45 + 21 * number, line)
        return y + height


def draw() -> str:
    """Returns the SVG."""
    model, outputs, shapes = trace()
    drawing = Drawing()
    _draw_encoders(drawing, model, outputs)
    _draw_fusion(drawing, model, outputs, shapes)
    _draw_segmentation(drawing, model, outputs, shapes)
    size = " x ".join(map(str, model.vision.image_size))
    text = (
        f"{_name(model)} for images of {size} pixels. {_name(model.vision)} turns an "
        f"image into patches and {_name(model.language)} a text into words; "
        f"{_name(model.fusion)} fuses both and turns a seed into a classifier; its "
        f"scores select patches, which {_name(model.decoder)} turns into pixels."
    )
    return _SVG.format(
        width=_WIDTH,
        height=_HEIGHT,
        text=escape(text),
        light=_colors(gallery.LIGHT),
        dark=_colors(gallery.DARK),
        vision=f"rgb{overlay.color_of(1)}",
        language=f"rgb{overlay.color_of(0)}",
        fusion=f"rgb{overlay.color_of(2)}",
        elements="\n".join(drawing.elements),
    )


def _name(module: Any) -> str:
    return type(module).__name__


def _layers(module: Any, number: int) -> str:
    return f"{number} × {EncoderBlock.__name__}, {module.num_heads} heads"


def _draw_encoders(drawing: Drawing, model: Any, outputs: dict[str, Any]) -> None:
    drawing.text(_LEFT, 24, f"image  {axes(outputs['image'])}", "tensor")
    drawing.text(_RIGHT, 24, f"tokens  {axes(outputs['tokens'])}", "tensor")
    seen, read = model.vision, model.language
    size = seen.patch_size
    lines = [
        f"{vision.patchify.__name__}, {size} × {size} pixels each",
        f"linear to {seen.width}, positions",
        _layers(seen, seen.num_layers),
    ]
    drawing.module(_LEFT, 46, 300, f"{_name(seen)} (Eq. 6)", lines, "vision")
    lines = [
        f"{language.WordTable.__name__}, vectors of {read.width}",
        "sinusoidal positions",
        _layers(read, read.num_layers),
    ]
    drawing.module(_RIGHT, 46, 300, _name(read), lines, "language")
    for x in (_LEFT, _RIGHT):
        drawing.arrow((x, 30), (x, 45))
        drawing.arrow((x, 143), (x, 195))
    words, _ = outputs["language/"]
    drawing.text(_LEFT + 10, 172, f"z_v  {axes(outputs['vision/'])}", "tensor start")
    drawing.text(_RIGHT + 10, 172, f"z_l  {axes(words)}", "tensor start")


def _draw_fusion(
    drawing: Drawing, model: Any, outputs: dict[str, Any], shapes: dict
) -> None:
    fusion = model.fusion
    drawing.box(30, 196, 700, 232, "fusion")
    drawing.text(380, 219, f"{_name(fusion)} ({fusion.kind})", "title")
    for x, name in ((_LEFT, "visual_linear"), (_RIGHT, "language_linear")):
        width = shapes[f"fusion/{name}/kernel"][-1]
        drawing.text(x, 240, f"{name} to {width}")
    half = _layers(fusion, fusion.num_layers // 2)
    joint = outputs["fusion/visual_linguistic/"].shape[-2]
    seeded = outputs["fusion/linguistic_seed/"].shape[-2]
    # Both inputs enter the first encoder; its words enter the second one.
    drawing.arrow((_LEFT, 246), (_LEFT, 269))
    drawing.arrow((_RIGHT, 246), (_RIGHT, 257), (300, 257), (300, 269))
    lines = [f"{TransformerEncoder.__name__}, {joint} tokens", half]
    drawing.module(_LEFT, 270, 300, "visual_linguistic (Eq. 7)", lines, "inner")
    lines = [f"{TransformerEncoder.__name__}, {seeded} tokens", half]
    drawing.module(_RIGHT, 330, 300, "linguistic_seed (Eq. 8)", lines, "inner")
    drawing.arrow((350, 300), (480, 300), (480, 329))
    drawing.text(415, 292, "words z'_l", "tensor")
    drawing.arrow((640, 310), (640, 329))
    drawing.text(640, 303, "class seed e_s", "tensor")
    fused = outputs["fusion/"]
    drawing.arrow((_LEFT, 346), (_LEFT, 483))
    drawing.arrow((_RIGHT, 406), (_RIGHT, 483))
    patches, classifier = axes(fused.patches), axes(fused.classifier)
    drawing.text(_LEFT + 10, 460, f"z'_v  {patches}", "tensor start")
    drawing.text(_RIGHT + 10, 460, f"e'_s  {classifier}", "tensor start")


def _draw_segmentation(
    drawing: Drawing, model: Any, outputs: dict[str, Any], shapes: dict
) -> None:
    output, decoder = outputs[""], model.decoder
    rows, columns = output.patch_logits.shape[-2:]
    lines = [
        "patch scores: z'_v · e'_s (Eq. 9)",
        "z_masked: z'_v × probability (Eq. 10)",
    ]
    name = f"{_name(model)}.{type(model).segment.__name__}"
    drawing.module(380, 484, 660, name, lines, "plain")
    drawing.arrow((600, 560), (600, 583))
    drawing.text(600, 600, f"patch_logits  {axes(output.patch_logits)}", "tensor")
    drawing.arrow((_LEFT, 560), (_LEFT, 639))
    masked = f"B × K × {rows} × {columns} × {model.fusion.width}"
    drawing.text(_LEFT + 10, 600, f"z_masked  {masked}", "tensor start")
    # The visual features bypass the fusion's encoders.
    start = (
        ((150, 246), (42, 246)) if model.decode_projected else ((_LEFT, 160), (14, 160))
    )
    lane = start[-1][0]
    drawing.arrow(*start, (lane, 620), (120, 620), (120, 639))
    drawing.text(lane + 8, 612, "z_v", "tensor start")
    lines = []
    for number in range(decoder.patch_size.bit_length() - 1):
        path = f"decoder/linear_{number}/"
        channels, features = shapes[f"{path}kernel"]
        side = rows * 2 ** (number + 1), columns * 2 ** (number + 1)
        lines.append(
            f"linear_{number}: {channels} to {features}, "
            f"{upsampling.double_leaky.__name__}: {side[0]} × {side[1]} × {features}"
        )
    lines.append(f"{ToLogit.__name__}: {shapes['decoder/to_logit/kernel'][0]} to 1")
    end = drawing.module(380, 640, 660, _name(decoder), lines, "vision")
    drawing.arrow((380, end), (380, end + 38))
    drawing.text(380, end + 58, f"pixel_logits  {axes(output.pixel_logits)}", "tensor")


def _colors(colors: dict[str, str]) -> str:
    return "; ".join(f"--{name}: {color}" for name, color in colors.items())


_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
role="img" aria-labelledby="title">
<title id="title">{text}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" \
markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>
<style>
  svg {{ {light}; background: var(--page); font: 14px system-ui, sans-serif; }}
  @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}
  text {{ fill: var(--text); text-anchor: middle; }}
  .title {{ font-weight: 650; font-size: 15px; }}
  .tensor {{ fill: var(--soft); font: 13px ui-monospace, monospace; }}
  .start {{ text-anchor: start; }}
  rect {{ fill: var(--card); stroke: var(--line); stroke-width: 1.5; }}
  .vision {{ stroke: {vision}; }}
  .language {{ stroke: {language}; }}
  .fusion {{ stroke: {fusion}; }}
  .inner {{ fill: var(--page); }}
  polyline {{ fill: none; stroke: var(--soft); stroke-width: 1.5; \
marker-end: url(#head); }}
  marker path {{ fill: var(--soft); }}
</style>
{elements}
</svg>
"""


def main() -> None:
    """Writes the drawing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.output.write_text(draw())


if __name__ == "__main__":
    main()
