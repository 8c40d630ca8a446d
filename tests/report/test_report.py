"""Figures, tables and the page on fabricated results: same bytes, same numbers, nothing from elsewhere."""

import csv
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest

import fabricate
from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit
from reprood.errors import ReproodError
from reprood.report import words
from reprood.report.figures import KINDS, make_figure
from reprood.report.notebook import render
from reprood.report.page import write_page
from reprood.report.plots import write_plots
from reprood.report.results import BenchmarkResults
from reprood.report.tables import classification, detection, frame, latex, markdown, write_table

CLAIMS = [
    {"metric": "top1_error", "better": "lower", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "difference",
     "sides": [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}],
     "note": "<script>alert(1)</script>"},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    fabricate.results(path)
    return path


@pytest.fixture(scope="module")
def results(folder):
    return BenchmarkResults("toy", fabricate.suite(), folder / "runs")


@pytest.fixture(scope="module")
def page(folder, results):
    figures = folder / "reports" / "figures"
    for kind in KINDS:
        make_figure(kind, results, figures / "toy" / f"{kind}.svg", figures / "toy" / f"{kind}.png")
    paper = Paper.model_validate(fabricate.paper(*CLAIMS))
    audit(fabricate.suite(), [paper], folder / "runs", folder / "verdicts.csv")
    out = folder / "reports" / "index.html"
    write_page(
        fabricate.suite(),
        [paper],
        folder / "verdicts.csv",
        runs=folder / "runs",
        data=folder / "data",
        figures=figures,
        out=out,
    )
    return out.read_text()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_figures_are_the_same_bytes_twice(results, tmp_path, kind):
    for name in ("a", "b"):
        make_figure(kind, results, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    for form in ("svg", "png"):
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    assert "<svg" in svg
    assert "<dc:date>" not in svg
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 5


def test_unknown_figure_and_table(results, tmp_path):
    with pytest.raises(ReproodError, match="known: examples"):
        make_figure("pie", results, tmp_path / "a.svg", tmp_path / "a.png")
    with pytest.raises(ReproodError, match="known: classification"):
        write_table("pie", results, tmp_path / "a")


def test_classification_table_matches_the_metrics(results):
    table = classification(results)
    for row, method in zip(table.rows, results.methods, strict=True):
        assert row[0].text == results.label(method)
        assert row[1].value == pytest.approx(results.values(method, "top1_error").mean())
        assert row[2].text == "25.0", "the lowest recorded test error"
        assert row[1].interval.startswith("[")


def test_detection_table_matches_the_metrics_and_names_the_convention(results):
    table = detection(results)
    assert sum("FPR@95 (ID positive)" in head for head in table.head) == 1
    assert sum("FPR@95 (OOD positive)" in head for head in table.head) == 1
    by_key = {(row[0].text, row[1].text): row for row in table.rows}
    row = by_key["Good & better", "MSP"]
    assert row[2].value == pytest.approx(100 * results.values("good", "auroc", "mean_natural", "msp").mean())
    assert row[4].value == pytest.approx(
        100 * results.values("good", "fpr95_id_positive", "mean_natural", "msp").mean()
    )
    assert row[5].value == pytest.approx(
        100 * results.values("good", "fpr95_ood_positive", "mean_natural", "msp").mean()
    )
    assert row[7].value == pytest.approx(100 * results.values("good", "auroc", "near_set", "msp").mean())
    assert by_key["Broken", "accuracy gate failed"][2].text == "–"


@pytest.mark.parametrize("make", [classification, detection])
def test_the_forms_of_a_table_agree(results, make, tmp_path):
    table = make(results)
    stem = tmp_path / "t"
    write_table(table.name, results, stem)
    with open(stem.with_suffix(".csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(table.rows) == len(frame(table))
    lines = stem.with_suffix(".md").read_text().splitlines()[2 : 2 + len(rows)]
    tex = stem.with_suffix(".tex").read_text()
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    for cells, record, line, latex_line in zip(table.rows, rows, lines, body, strict=True):
        numbers = [cell.text for cell in cells if cell.value is not None]
        assert numbers or cells[1].text == "accuracy gate failed"
        for text in numbers:
            plain = text.replace("−", "-")
            assert plain in record.values()
            assert text in line
            assert plain.replace("-", "$-$") in latex_line
    assert markdown(table) == stem.with_suffix(".md").read_text()
    assert latex(table).count(r"\\") == len(rows) + 1
    assert "Good & better" not in tex
    assert r"Good \& better" in tex
    assert re.search(r"(?<!\\)%(?! needs)", tex) is None


class Reader(HTMLParser):
    VOID = {"meta", "link", "img", "br", "input"}

    def __init__(self):
        super().__init__()
        self.stack, self.links, self.images, self.heads, self.ids, self.problems = [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in self.VOID:
            self.stack.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag == "th":
            self.heads.append(values.get("scope"))
        for name in ("src", "href"):
            if values.get(name, "").startswith(("http:", "https:", "//")) and tag != "a":
                self.problems.append(f"{tag} {values[name]}")

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(f"</{tag}>")


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_is_whole_and_brings_nothing_from_elsewhere(page):
    reader = read(page)
    assert not reader.problems
    assert not reader.stack
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert not re.search(r"@import|url\(\s*['\"]?http", page)
    assert len(page) < 1_500_000


def test_the_page_is_accessible(page):
    reader = read(page)
    assert len(reader.images) == len(KINDS)
    assert all(image["alt"] and image["loading"] == "lazy" for image in reader.images)
    assert all(scope in ("col", "row") for scope in reader.heads)
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page


def test_texts_cannot_become_markup(page):
    assert "<b>suite</b>" not in page
    assert "Fabricated &lt;b&gt;suite&lt;/b&gt;" in page
    assert "<script>alert" not in page
    assert "<i>near_set</i>" not in page


def test_verdicts_are_shown_with_their_reasons(page):
    assert page.count("supported at reduced scale") >= 2
    assert ">reproduced<" not in page
    assert "95 % interval" in page
    assert "This is a reduced scale" in page


def test_links_to_evidence_resolve(folder, page):
    for link in read(page).links:
        if link.startswith("../runs/"):
            assert (folder / "reports" / link).exists(), link


def test_plots_table(folder, results, tmp_path):
    source = folder / "runs" / "toy" / "good" / "0" / "metrics.csv"
    write_plots(source, tmp_path / "plots.csv")
    rows = list(csv.DictReader((tmp_path / "plots.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} == {"msp", "own"}


@pytest.mark.parametrize(
    ("value", "text"), [(1.25, "1.2"), (-0.04, "−0.0"), (float("nan"), "–"), (12.0, "12.0")]
)  # fmt: skip
def test_numbers(value, text):
    assert words.number(value) == text


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(Path(__file__).parents[2] / "notebooks" / "explore.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_notebook_is_run_and_its_errors_are_said(tmp_path):
    from nbformat.v4 import new_code_cell, new_notebook

    nbformat.write(new_notebook(cells=[new_code_cell("print(6 * 7)")]), tmp_path / "a.ipynb")
    render(tmp_path / "a.ipynb", tmp_path / "a.html")
    html = (tmp_path / "a.html").read_text()
    assert "42" in html
    assert not re.search(r'(src|href)="https?://', html)
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path / "b.ipynb")
    with pytest.raises(ReproodError, match="a cell failed: ZeroDivisionError"):
        render(tmp_path / "b.ipynb", tmp_path / "b.html")
    (tmp_path / "c.ipynb").write_text("no notebook")
    with pytest.raises(ReproodError, match="not a readable notebook"):
        render(tmp_path / "c.ipynb", tmp_path / "c.html")


def test_no_torch():
    program = "import sys, reprood.report.page, reprood.report.notebook; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
