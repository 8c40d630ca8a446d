"""The gallery notebook: stored without outputs, runs on what there is, and says what is missing."""

import re
import shutil
from pathlib import Path

import fabricate
import nbformat
import numpy as np
import pytest

from reprood.data.arrays import save_split
from reprood.report.notebook import render

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "gallery.ipynb"
CORRUPTIONS = ["fog", "glass_blur"]
SEVERITIES = [1, 3]


def pictures(count: int, channels: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)


def write_benchmark(root: Path, benchmark: str, channels: int, corrupted: bool) -> None:
    """Write what the gallery reads of one benchmark."""
    data = root / "data" / "benchmarks" / benchmark
    images = pictures(12, channels)
    save_split(data / "test", images, np.zeros(12), {}, {"name": "d", "classes": ["a"]})
    examples = root / "results" / "s" / "examples"
    examples.mkdir(parents=True, exist_ok=True)
    np.savez(examples / f"{benchmark}.npz", original=images[:10], cut_and_paste=images[:10][::-1])
    if corrupted:
        copies = len(CORRUPTIONS) * len(SEVERITIES)
        extras = {
            "corruption": np.repeat([0, 1], 2 * 5),
            "severity": np.tile(np.repeat(SEVERITIES, 5), 2),
            "row": np.tile(np.arange(5), copies),
        }
        meta = {"corruptions": CORRUPTIONS, "severities": SEVERITIES, "strengths": "cifar"}
        save_split(data / "corrupted", pictures(copies * 5, channels), np.zeros(copies * 5), extras, meta)


def page(root: Path) -> str:
    """Render the notebook of a project in `root`."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    shutil.copy(NOTEBOOK, root / "notebooks")
    render(root / "notebooks" / NOTEBOOK.name, root / "gallery.html", {"RESULTS": "results/s"})
    return (root / "gallery.html").read_text()


def said(text: str) -> str:
    """What the cells print; the cells' own code begins with an empty span."""
    return "\n".join(re.findall(r"<pre>(?!<span></span>)(.*?)</pre>", text, re.DOTALL))


def drawn(text: str) -> int:
    return len(re.findall(r'src="data:image/png', text))


def test_it_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_it_shows_what_there_is(tmp_path: Path) -> None:
    """Grey and colour; the benchmark that is not among the results is another suite's."""
    write_benchmark(tmp_path, "colour", 3, corrupted=True)
    write_benchmark(tmp_path, "grey", 1, corrupted=False)
    write_benchmark(tmp_path, "other_suite", 1, corrupted=True)
    benchmark, methods = fabricate.SUITE["benchmarks"]["toy"], fabricate.SUITE["methods"]
    names = ("colour", "grey")
    runs = [{"benchmark": name, "methods": list(methods)[:1]} for name in names]
    suite = fabricate.suite(benchmarks=dict.fromkeys(names, benchmark), runs=runs)
    (tmp_path / "results" / "s" / "suite.json").write_text(suite.model_dump_json())
    text = page(tmp_path)
    assert drawn(text) == 2 + 1 + 1  # examples of both, corruptions of one, styles of the first
    assert "colour, strengths of cifar" in said(text)
    assert "other_suite" not in text
    assert "No examples" not in said(text)


@pytest.mark.parametrize("some", [False, True])
def test_it_says_what_is_missing(tmp_path: Path, some: bool) -> None:
    if some:
        write_benchmark(tmp_path, "grey", 1, corrupted=False)
        (tmp_path / "results" / "s" / "examples" / "grey.npz").unlink()
        (tmp_path / "data" / "benchmarks" / "grey" / "corrupted").mkdir()  # interrupted before anything was written
    text = page(tmp_path)
    assert drawn(text) == int(some)  # the styles need no run
    assert "There are no results yet" in said(text)
    assert ("No examples: grey." if some else "No examples: nothing has run yet.") in said(text)
    assert "There are no corrupted images" in said(text)
    assert ("There are no test images" in said(text)) is not some
