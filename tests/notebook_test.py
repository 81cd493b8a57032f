import pathlib
import re

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parent.parent / "notebooks" / "tour.ipynb"


def read_notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


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
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    ).execute()
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
