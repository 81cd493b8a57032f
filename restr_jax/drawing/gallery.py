"""An HTML page of scores and scored expressions that needs no server."""

import json
import pathlib
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from restr_jax.drawing import overlay
from restr_jax.files import read_json, write_whole

# The colours of both outlines; people with impaired colour vision can distinguish them.
TRUTH, PREDICTION = overlay.COLORS[5], overlay.COLORS[0]

# The colours of the page and of its plots.
LIGHT = {"page": "#ffffff", "card": "#f5f6f8", "text": "#1b1f24"}
LIGHT |= {"soft": "#57606a", "line": "#d9dee4"}
DARK = {"page": "#14171c", "card": "#1d2127", "text": "#e8eaed"}
DARK |= {"soft": "#a3abb5", "line": "#353b44"}


class Plot(NamedTuple):
    """A plot in the page's folder, with a variant for dark pages beside it.

    Attributes:
        file: its name; that of the variant ends in `-dark`.
        text: its values in words, for readers who cannot see it.
    """

    file: str
    text: str


class Result(NamedTuple):
    """The scores of one checkpoint on one split.

    Attributes:
        key: the `result` of its cases.
        title: its heading.
        headline: the most important score and its name.
        scores: (name, value) of the others, formatted.
        plots: its plots.
    """

    key: str
    title: str
    headline: tuple[str, str]
    scores: Sequence[tuple[str, str]]
    plots: Sequence[Plot]


# The page is self-contained but for its pictures, since pages opened from disk may not
# fetch other files. Without a script, it shows everything.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Predictions of ReSTR</title>
<style>
  :root { %LIGHT%; --truth: rgb%TRUTH%; --prediction: rgb%PREDICTION%; }
  @media (prefers-color-scheme: dark) { :root { %DARK%; } }
  * { box-sizing: border-box; }
  body { margin: 0 auto; max-width: 1200px; padding: 1.5rem 1rem 4rem;
    font: 16px/1.5 system-ui, sans-serif; color: var(--text);
    background: var(--page); }
  h1 { font-size: 1.5rem; margin: 0 0 1rem; }
  h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
  form, .filters { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0 0 1rem; }
  label { display: grid; gap: .1rem; font-size: .85rem; color: var(--soft);
    min-width: 0; }
  label:first-child { flex: 1 1 14rem; max-width: 34rem; }
  @media (max-width: 480px) { label:first-child { flex-basis: 100%; } }
  input, select { font: inherit; font-size: 1rem; color: var(--text); width: 100%;
    min-height: 2.5rem; padding: .25rem .6rem; background: var(--card);
    border: 1px solid var(--line); border-radius: 6px; }
  input[type=number] { width: 6rem; }
  .scores { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 0; }
  .scores div { display: flex; flex-direction: column-reverse; }
  .scores div:first-child { flex-basis: 100%; }
  dt { font-size: .85rem; color: var(--soft); }
  dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
  .scores div:first-child dd { font-size: 2.75rem; font-weight: 650;
    line-height: 1.1; }
  .plots { display: grid; gap: 1rem; margin: 1.25rem 0;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
  .plots img { border: 1px solid var(--line); }
  img { display: block; width: 100%; height: auto; border-radius: 6px; }
  .legend { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap;
    gap: .25rem 1.5rem; margin: 0 0 .75rem; padding: .5rem 0;
    background: var(--page); border-bottom: 1px solid var(--line); }
  .legend span::before { content: ""; display: inline-block; width: 1.6em;
    height: .3em; margin-right: .5em; vertical-align: middle; border-radius: 2px;
    background: var(--color); }
  .truth { --color: var(--truth); }
  .prediction { --color: var(--prediction); }
  .note { color: var(--soft); max-width: 46rem; margin: 0 0 .75rem; }
  .cases { display: grid; gap: 1rem; align-items: start;
    grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
  .cases img { aspect-ratio: 4 / 3; object-fit: contain; background: var(--page); }
  .cases figure { margin: 0; padding: .6rem; background: var(--card);
    border: 1px solid var(--line); border-radius: 10px; }
  figcaption { padding: .5rem .2rem 0; overflow-wrap: anywhere; }
  figcaption b { font-weight: 600; }
  .iou { display: block; color: var(--soft); font-size: .9rem;
    font-variant-numeric: tabular-nums; }
  .bar { display: block; height: 4px; margin: .2rem 0 .3rem; border-radius: 2px;
    background: linear-gradient(var(--text) 0 0) 0 / var(--iou) 100% no-repeat
      var(--line); }
  details { font-size: .9rem; color: var(--soft); }
  summary { cursor: pointer; min-height: 2rem; padding: .25rem 0; }
  ul { margin: 0; padding-left: 1.2rem; }
  :focus-visible { outline: 3px solid #2f81f7; outline-offset: 2px; }
  [hidden] { display: none !important; }
</style>
<h1>Predictions of ReSTR</h1>
<form id="filter" hidden>
  <label>Result <select name="result">%OPTIONS%</select></label>
</form>
<main>
%RESULTS%
<h2>Cases</h2>
<div class="filters" hidden>
  <label>Expression contains <input form="filter" name="text" type="search"></label>
  <label>IoU from <input form="filter" name="least" type="number" min="0" max="1"
    step="0.05" value="0"></label>
  <label>to <input form="filter" name="most" type="number" min="0" max="1"
    step="0.05" value="1"></label>
</div>
%CASES%
</main>
<script>
const form = document.querySelector("form"), field = form.elements;
function show() {
  const text = field.text.value.toLowerCase();
  for (const part of document.querySelectorAll("[data-key]"))
    part.hidden = part.dataset.key !== field.result.value;
  for (const figure of document.querySelectorAll("[data-iou]")) {
    const iou = +figure.dataset.iou;
    figure.hidden = iou < +field.least.value || iou > +field.most.value
      || !figure.querySelector("b").textContent.toLowerCase().includes(text);
  }
}
form.hidden = field.result.length < 2;
document.querySelector(".filters").hidden = false;
form.addEventListener("input", show);
form.addEventListener("submit", event => event.preventDefault());
show();
</script>
</html>
"""

_CHOICE = """<p class="note">One expression of each image was drawn at random. Ranked by
their IoU, the %d images form %d groups of equal size. The middle image of each is
shown, from the worst to the best.</p>"""
_LEGEND = """<p class="legend"><span class="truth">ground truth</span>
<span class="prediction">prediction</span></p>"""
_NONE = """<p class="note">This result has no cases. They are drawn for the first of
config.eval.thresholds, if config.eval.num_figures is above 0.</p>"""
_FIELDS = {"file", "result", "expression", "iou", "no_target", "found", "others"}
_FIELDS |= {"images"}


def add_cases(folder: pathlib.Path, cases: list[dict]) -> None:
    """Adds cases to a folder's cases.json.

    Args:
        folder: folder of the figures.
        cases: `file` (in the folder), `result`, `expression`, `iou`, `no_target` (true
            if nothing fits), `found` (false if the prediction is empty), `others`
            (further expressions of the image) and `images` (how many there were to
            choose from) of each. They replace known cases of the same results.

    Raises:
        ValueError: if cases.json is damaged.
    """
    scored_anew = {case["result"] for case in cases}
    known = [c for c in _read_cases(folder) if c["result"] not in scored_anew]
    write_whole(folder / "cases.json", json.dumps(known + cases, indent=1) + "\n")


def write_page(folder: pathlib.Path, results: Sequence[Result]) -> None:
    """Writes index.html with scores, plots, and the cases of cases.json.

    Args:
        folder: folder of the figures.
        results: the results, in time; the last one with cases is shown first.

    Raises:
        ValueError: if cases.json is damaged.
    """
    by_result: dict[str, list[dict]] = {}
    for case in _read_cases(folder):
        by_result.setdefault(case["result"], []).append(case)
    # Of several thresholds, only the first has cases.
    newest_first = sorted(results[::-1], key=lambda one: one.key not in by_result)
    options = "".join(
        f'<option value="{escape(result.key)}">{escape(result.title)}</option>'
        for result in newest_first
    )
    page = _PAGE
    # The texts come last: an expression may look like a field.
    for name, value in (
        *(
            (name, _style(colors))
            for name, colors in (("LIGHT", LIGHT), ("DARK", DARK))
        ),
        ("TRUTH", str(TRUTH)),
        ("PREDICTION", str(PREDICTION)),
        ("OPTIONS", options),
        ("RESULTS", "\n".join(map(_scores, newest_first))),
        (
            "CASES",
            "\n".join(
                _cases(one.key, by_result.get(one.key, [])) for one in newest_first
            ),
        ),
    ):
        page = page.replace(f"%{name}%", value, 1)
    write_whole(folder / "index.html", page)


def _style(colors: dict[str, str]) -> str:
    return "; ".join(f"--{name}: {color}" for name, color in colors.items())


def _read_cases(folder: pathlib.Path) -> list[dict]:
    path = folder / "cases.json"
    if not path.exists():
        return []
    known = read_json(
        path,
        lambda cases: all("file" in case.keys() for case in cases),
        "Remove this file; the figures are kept.",
    )
    # Those of earlier versions have other pictures, and are not shown.
    return [case for case in known if case.keys() >= _FIELDS]


def _scores(result: Result) -> str:
    scores = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in (result.headline, *result.scores)
    )
    plots = "".join(
        f'<picture><source srcset="{escape(dark(plot.file))}" '
        f'media="(prefers-color-scheme: dark)"><img src="{escape(plot.file)}" '
        f'alt="{escape(plot.text)}"></picture>'
        for plot in result.plots
    )
    return (
        f'<section data-key="{escape(result.key)}"><h2>{escape(result.title)}</h2>'
        f'<dl class="scores">{scores}</dl><div class="plots">{plots}</div></section>'
    )


def _cases(key: str, cases: list[dict]) -> str:
    lines = [f'<div data-key="{escape(key)}">']
    if cases:
        lines += [_CHOICE % (cases[0]["images"], len(cases)), _LEGEND]
        lines += ['<div class="cases">', *map(_figure, cases), "</div>"]
    return "\n".join([*lines, "</div>"] if cases else [*lines, _NONE, "</div>"])


def _figure(case: dict) -> str:
    found = f"IoU {case['iou']:.2f}"
    if case["no_target"]:
        answer = "but a mask was predicted" if case["found"] else "nothing found"
        found = f"nothing fits, {answer}"
    elif not case["found"]:
        found += ", nothing found"
    said = f"“{case['expression']}”"
    alt = f"Image with the outlines of the true and the predicted mask of {said}: "
    listed = "".join(
        f"<li>“{escape(other['expression'])}”, IoU {other['iou']:.2f}</li>"
        for other in case["others"]
    )
    name = f"{len(case['others'])} other expression" + "s" * (len(case["others"]) > 1)
    others = f"<details><summary>{name}</summary><ul>{listed}</ul></details>"
    return (
        f'<figure data-iou="{case["iou"]:.4f}">'
        f'<img src="{escape(case["file"])}" alt="{escape(alt + found)}" loading="lazy">'
        f"<figcaption><b>{escape(said)}</b>"
        f'<span class="iou">{found}<span class="bar" style="--iou: '
        f'{100 * case["iou"]:.0f}%"></span></span>{others if listed else ""}'
        "</figcaption></figure>"
    )


def dark(file: str) -> str:
    """Returns the name of a plot's variant for dark pages."""
    path = pathlib.PurePath(file)
    return str(path.with_stem(f"{path.stem}-dark"))
