"""An HTML gallery of scored expressions that needs no server."""

import html
import json
import pathlib

from restr_jax.files import read_json, write_whole

# Template with the fields `%CASES%` and `%TITLE%`. It is self-contained, since pages
# opened from disk may not fetch other files.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>%TITLE%</title>
<style>
  body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; }
  form { display: flex; flex-wrap: wrap; gap: 1.5em; margin: 1em 0; }
  label { display: flex; gap: .5em; align-items: center; }
  input[type=number] { width: 5em; }
  figure { margin: 0 0 1.5em; border-top: 1px solid #ccc; padding-top: .5em; }
  img { max-width: 100%; }
</style>
<h1>%TITLE%</h1>
<form>
  <label>cases <select name="group"></select></label>
  <label>split <select name="split"></select></label>
  <label>IoU from <input name="iou_min" type="number" min="0" max="1" step="0.05"
    value="0"> to <input name="iou_max" type="number" min="0" max="1" step="0.05"
    value="1"></label>
  <label>words from <input name="words_min" type="number" min="1" value="1"> to
    <input name="words_max" type="number" min="1" value="99"></label>
  <label>contains <input name="text" type="search"></label>
</form>
<p id="count"></p>
<main></main>
<script>
const cases = %CASES%;
const form = document.querySelector("form"), main = document.querySelector("main");
const field = form.elements;
for (const key of ["group", "split"]) {
  const values = ["all", ...new Set(cases.map(c => c[key]))];
  field[key].append(...values.map(v => new Option(v)));
}
function show() {
  const is = (key, c) => field[key].value === "all" || field[key].value === c[key];
  const shown = cases.filter(c => is("group", c) && is("split", c)
    && c.iou >= +field.iou_min.value && c.iou <= +field.iou_max.value
    && c.length >= +field.words_min.value && c.length <= +field.words_max.value
    && c.expression.toLowerCase().includes(field.text.value.toLowerCase()));
  document.querySelector("#count").textContent =
    `${shown.length} of ${cases.length} cases`;
  main.replaceChildren(...shown.map(c => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = `${c.split}, step ${c.step}, ${c.group}: ` +
      `“${c.expression}”, IoU ${c.iou.toFixed(3)}`;
    const image = new Image();
    image.src = c.file;
    image.alt = c.expression;
    image.loading = "lazy";
    figure.append(caption, image);
    return figure;
  }));
}
form.addEventListener("input", show);
form.addEventListener("submit", event => event.preventDefault());
show();
</script>
</html>
"""


def add_cases(folder: pathlib.Path, cases: list[dict]) -> None:
    """Adds cases to a folder's cases.json and rewrites its index.html.

    Args:
        folder: folder of the figures.
        cases: `file` (in the folder), `group`, `split`, `step`, `expression`, `length`
            (words) and `iou` of each. They replace known cases of the same files.

    Raises:
        ValueError: if cases.json is damaged.
    """
    path, known = folder / "cases.json", []
    if path.exists():
        known = read_json(
            path,
            lambda cases: all("file" in case.keys() for case in cases),
            "Remove this file; the figures are kept.",
        )
    drawn_anew = {case["file"] for case in cases}
    merged = [case for case in known if case["file"] not in drawn_anew] + cases
    write_whole(path, json.dumps(merged, indent=1) + "\n")
    # "</script>" in an expression would end the script.
    inline = json.dumps(merged).replace("</", "<\\/")
    page = _PAGE.replace("%TITLE%", html.escape("Predictions of ReSTR"))
    write_whole(folder / "index.html", page.replace("%CASES%", inline))
