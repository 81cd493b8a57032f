import pathlib
import re

import nbformat
import pytest

from notebooks import execute

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(name):
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed_by(notebook):
    outputs = outputs_of(notebook)
    return "".join(o.text for o in outputs if o.output_type == "stream")


def number_of_figures(notebook):
    return sum("image/png" in o.get("data", {}) for o in outputs_of(notebook))


def number_in(notebook, pattern):
    return float(re.search(pattern, printed_by(notebook))[1])


def check_tour(notebook):
    # The shipped model scores 0.925 on its 500 test scenes; these are 16.
    assert number_in(notebook, r"shipped model: oIoU (\S+),") >= 0.88
    for kind in ("attribute", "superlative", "relation"):
        assert number_in(notebook, rf"  {kind}: (\S+)") >= 0.8
    assert "('shiny',)" in printed_by(notebook)
    assert "knows none of the words" in printed_by(notebook)
    # The trained model learns something; a mask of all pixels would score about 0.1.
    before = number_in(notebook, r"fell from (\S+)")
    assert number_in(notebook, r"fell from \S+ to (\S+)") < 0.6 * before
    assert number_in(notebook, r"own model: oIoU (\S+),") >= 0.15
    assert number_of_figures(notebook) == 5


def check_own_data(notebook):
    assert "train: 4 images, 8 objects, 15 expressions" in printed_by(notebook)
    assert "val: 1 images, 3 objects, 3 expressions" in printed_by(notebook)
    before = number_in(notebook, r"val before training: oIoU (\S+)")
    assert number_in(notebook, r"val after training: oIoU (\S+)") > before
    assert number_in(notebook, r"train after training: oIoU (\S+)") > 0.4
    assert number_of_figures(notebook) == 3


# The notebooks that are stored with outputs.
STORED = ("own_data.ipynb", "tour.ipynb")
CHECKS = {"own_data.ipynb": check_own_data, "tour.ipynb": check_tour}


def test_every_notebook_is_checked():
    assert [path.name for path in NOTEBOOKS] == list(CHECKS)


@pytest.mark.parametrize("name", STORED)
def test_a_notebook_is_stored_with_its_outputs(name):
    path, notebook = ROOT / "notebooks" / name, read(name)
    assert path.stat().st_size < 1_500_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    numbers = [cell.execution_count for cell in code]
    assert numbers == list(range(1, len(code) + 1))
    assert not any(o.output_type == "error" for o in outputs_of(notebook))
    CHECKS[name](notebook)


@pytest.mark.parametrize("name", CHECKS)
def test_a_stored_notebook_has_no_path_of_a_machine(name):
    shown = (ROOT / "notebooks" / name).read_text()
    found = re.findall(
        r"(?:/tmp|/home|/root|/Users|/work|/var|[A-Z]:\\\\)[^\s\"]*", shown
    )
    assert found == [] and "tfevents" not in shown


def test_both_notebooks_install_from_and_open_at_one_address():
    addresses = set()
    for name in CHECKS:
        first, install = read(name).cells[:2]
        colab = (
            r"colab\.research\.google\.com/github/([\w-]+/[\w-]+)/blob/main/([^\s)]+)"
        )
        (badge,) = re.findall(colab, first.source)
        assert badge[1] == f"notebooks/{name}"
        (own,) = re.findall(r'"https://github\.com/([\w-]+/[\w-]+)"', install.source)
        addresses |= {badge[0], own}
    assert len(addresses) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_notebook_runs_and_shows_the_stated_results(name, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = read(name)
    execute.execute(notebook, ROOT / "notebooks")
    CHECKS[name](notebook)


def test_progress_bars_and_colours_are_dropped_and_lines_joined():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    figure = nbformat.v4.new_output("display_data", data={"image/png": "AA=="})
    outputs = [stream("stdout", "\x1b[1mone\x1b[0m\n"), stream("stderr", "50%|")]
    outputs += [stream("stdout", "two\n"), figure, stream("stdout", "three\n")]
    cell = nbformat.v4.new_code_cell("", outputs=outputs)
    execute.tidy(nbformat.v4.new_notebook(cells=[cell]))
    assert [o.get("text", "a figure") for o in cell.outputs] == [
        "one\ntwo\n",
        "a figure",
        "three\n",
    ]


@pytest.mark.slow
def test_a_cell_trains_with_two_workers_and_shows_its_progress(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    config = tiny_config("shapes")
    config.data.num_workers = 2
    code = f"""
import json, sys
import ml_collections
sys.path.insert(0, {str(ROOT)!r})
from restr_jax import train
config = ml_collections.ConfigDict(json.loads({config.to_json()!r}))
rows = train.train_and_evaluate(config, "run")
"""
    cells = [nbformat.v4.new_code_cell(code)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execute.execute(notebook, tmp_path)
    shown = "".join(o.get("text", "") for o in outputs_of(notebook))
    # From the first moment on, before the first step is compiled.
    assert "training:   0%" in shown and "| 0/8 [" in shown
    assert "training: 100%" in shown and "| 8/8 [" in shown
    assert "shapes:val: " in shown
    assert "\x1b[A" not in shown  # A notebook would print each bar on a new line.
    assert (tmp_path / "run" / "eval" / "results.json").exists()
