import pathlib
import re

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "tour.ipynb"


def read_notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook, folder):
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    )
    client.execute()


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_notebook_is_stored_without_outputs():
    notebook = read_notebook()
    assert not outputs_of(notebook)
    assert not any(cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_stated_results(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = read_notebook()
    execute(notebook, NOTEBOOK.parent)
    outputs = outputs_of(notebook)
    printed = "".join(o.text for o in outputs if o.output_type == "stream")

    def number(pattern):
        return float(re.search(pattern, printed)[1])

    # The shipped model scores 0.925 on its 500 test scenes; these are 16.
    assert number(r"shipped model: oIoU (\S+),") >= 0.88
    for kind in ("attribute", "superlative", "relation"):
        assert number(rf"  {kind}: (\S+)") >= 0.8
    assert "('shiny',)" in printed
    assert "knows none of the words" in printed
    # The trained model learns something; a mask of all pixels would score about 0.1.
    assert number(r"fell from \S+ to (\S+)") < 0.6 * number(r"fell from (\S+)")
    assert number(r"own model: oIoU (\S+),") >= 0.15
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 5


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
    execute(notebook, tmp_path)
    shown = "".join(o.get("text", "") for o in outputs_of(notebook))
    # From the first moment on, before the first step is compiled.
    assert "training:   0%" in shown and "| 0/8 [" in shown
    assert "training: 100%" in shown and "| 8/8 [" in shown
    assert "shapes:val: " in shown
    assert "\x1b[A" not in shown  # A notebook would print each bar on a new line.
    assert (tmp_path / "run" / "eval" / "results.json").exists()
