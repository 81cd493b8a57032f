"""Executes the notebooks of this folder and stores them with their outputs.

python notebooks/execute.py
"""

import pathlib
import re

import nbclient
import nbformat

HERE = pathlib.Path(__file__).parent


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Executes a notebook in a folder."""
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    ).execute()


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drops progress bars and colours, and joins the printed lines of each cell."""
    for cell in notebook.cells:
        joined: list = []
        for output in cell.get("outputs", []):
            if output.output_type != "stream":
                joined.append(output)
            elif output.name == "stdout":
                output.text = re.sub(r"\x1b\[\d*m", "", output.text)
                if joined and joined[-1].output_type == "stream":
                    joined[-1].text += output.text
                else:
                    joined.append(output)
        if "outputs" in cell:
            cell.outputs = joined


def main() -> None:
    """Executes and stores every notebook."""
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        execute(notebook, HERE)
        tidy(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
