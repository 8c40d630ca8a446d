"""Execute a notebook and render it as one HTML file that needs no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path


def render(notebook: Path, out: Path, parameters: Mapping[str, str]) -> None:
    """Run every cell in the notebook's folder and write the page.

    A cell may end the notebook early with `raise SystemExit("why")`; the page then ends with that sentence.

    Parameters
    ----------
    notebook, out : Path
        The notebook and the HTML file to write.
    parameters : mapping
        Replaces the assignments in the cell with the tag `parameters`.

    Raises
    ------
    ReproodError
        If the file is not a notebook, has no such cell, or a cell fails.
    """
    library: Any = nbformat  # neither package is typed
    make_runner: Any = ExecutePreprocessor
    make_exporter: Any = HTMLExporter
    try:
        content = library.read(notebook, as_version=4)
    except (OSError, library.reader.NotJSONError, library.ValidationError) as error:
        raise ReproodError(f"{notebook} is not a readable notebook ({error}).") from error
    tagged = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    if parameters:
        if len(tagged) != 1:
            raise ReproodError(f"{notebook} must have one cell with the tag 'parameters'; it has {len(tagged)}.")
        tagged[0].source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    # Join the pieces that a cell prints, so that timing does not change the output.
    runner = make_runner(timeout=600, kernel_name="python3", resources={}, coalesce_streams=True)
    try:
        runner.preprocess(content, {"metadata": {"path": str(notebook.parent.resolve())}})
    except CellExecutionError as error:
        if error.ename != "SystemExit":
            what = f"{error.ename}: {error.evalue}"
            raise ReproodError(f"{notebook}: a cell failed: {what}; open it with Jupyter to see where.") from error
        _end_early(content, error.evalue)
    # no external scripts: there are no formulas and no widgets
    exporter = make_exporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", embed_images=True)
    body, _ = exporter.from_notebook_node(content, {"metadata": {"name": notebook.stem}})
    with atomic_path(out) as temporary:
        temporary.write_text(body, encoding="utf-8")


def _end_early(content: Any, sentence: str) -> None:
    """Cut a notebook after the cell that raised SystemExit, and show the exception's text as what that cell printed."""
    ended = next(k for k, cell in enumerate(content.cells) if _failed(cell))
    kept = [output for output in content.cells[ended].outputs if output.output_type == "stream"]
    said: Any = nbformat.v4.new_output("stream", name="stdout", text=f"{sentence}\n")  # type: ignore[no-untyped-call]
    content.cells[ended].outputs = [*(one for one in kept if one.name == "stdout"), said]
    del content.cells[ended + 1 :]


def _failed(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))
