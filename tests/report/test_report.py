"""Figures, tables and the page on fabricated results: same bytes, same numbers, nothing from elsewhere."""

import csv
import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest

import fabricate
from reprood.audit.papers import Claim, Paper
from reprood.audit.reasons import signed
from reprood.audit.verdicts import audit
from reprood.errors import ReproodError
from reprood.kinds import figures_of, page_names
from reprood.report import words
from reprood.report.claims import forest, stated
from reprood.report.figures import make_figure
from reprood.report.forms import Cell, Table, frame, latex, markdown, write_forms
from reprood.report.hardest import hardest_table
from reprood.report.leaderboard import leaderboard
from reprood.report.notebook import render
from reprood.report.pages import TEMPLATES, write_report
from reprood.report.paper_page import beside, provenance
from reprood.report.plots import write_plots
from reprood.report.provenance import runs_of
from reprood.report.results import BenchmarkResults, read_history
from reprood.report.tables import classification, detection, matrix, published, write_table

DEFECTS = Path(__file__).parents[2] / "config" / "defects.yaml"
KINDS = figures_of(fabricate.suite().benchmarks["toy"])
CLAIMS = [
    {"metric": "top1_error", "better": "lower", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "difference",
     "sides": [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}],
     "note": "<script>alert(1)</script>"},
]  # fmt: skip
NUMBERS = [
    {"id": "a", "metric": "top1_error", "value": 9.0, "measured_by": "good", "source": "paper"},
    {"id": "b", "metric": "auroc", "value": 94.0, "measured_by": "good", "score": "msp", "split": "mean_all",
     "source": "recalled"},
    {"id": "c", "metric": "tnr95", "value": 50.0, "measured_by": "good", "score": "msp", "split": "near_set",
     "source": "paper"},
    {"id": "d", "metric": "fgsm_accuracy", "value": 8.2, "source": "paper"},
    {"id": "e", "metric": "auroc", "value": 1.0, "measured_by": "good", "score": "msp", "split": "elsewhere",
     "source": "issue"},
]  # fmt: skip
PAPER = Paper.model_validate(
    {
        **fabricate.paper(*CLAIMS),
        "arms": {"good": {"means": "ours"}, "erm": {"means": "baseline"}},
        "published": [{"where": "Table 1", "setting": "s", "method": "m", **number} for number in NUMBERS],
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    fabricate.results(path)
    return path


@pytest.fixture(scope="module")
def results(folder):
    return BenchmarkResults("toy", fabricate.suite(), folder / "runs")


@pytest.fixture(scope="module")
def pages(folder, results):
    figures = folder / "reports" / "figures"
    for kind in KINDS:
        toy = figures / "toy"
        make_figure(kind, results, toy / f"{kind}.svg", toy / f"{kind}.png", folder / "data")
    audit(fabricate.suite(), [PAPER], folder / "runs", folder / "studies", folder / "verdicts.csv")
    written = write_report(
        fabricate.suite(),
        [PAPER],
        folder / "verdicts.csv",
        runs=folder / "runs",
        studies=folder / "studies",
        data=folder / "data",
        figures=figures,
        defects=DEFECTS,
        out=folder / "reports",
    )
    evidence = [name for name in written if name.startswith("evidence/")]
    assert sorted(set(written) - set(evidence)) == sorted(page_names(["toy"], ["toy"], []))
    assert len(evidence) == len(set(evidence)) == len(CLAIMS) + len(results.methods)
    return {name: (folder / "reports" / name).read_text() for name in written if name.endswith(".html")}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_figures_are_the_same_bytes_twice(folder, results, tmp_path, kind):
    for name in ("a", "b"):
        make_figure(kind, results, tmp_path / f"{name}.svg", tmp_path / f"{name}.png", folder / "data")
    for form in ("svg", "png"):
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    assert "<svg" in svg
    assert "<dc:date>" not in svg
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 5


def test_a_figure_says_when_there_is_nothing_to_draw(folder, tmp_path):
    runs = [{"benchmark": "toy", "methods": ["broken"]}]
    broken = BenchmarkResults("toy", fabricate.suite(runs=runs), folder / "runs")
    record = fabricate.SUITE["benchmarks"]["toy"]
    closed_set = {"toy": {**record, "ood": {}, "evaluations": ["classification"]}}
    without = BenchmarkResults("toy", fabricate.suite(benchmarks=closed_set), folder / "runs")
    assert not without.detects
    for kind in ("auroc", "roc", "histograms"):
        for name, results in (("broken", broken), ("without", without)):
            make_figure(kind, results, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.svg").read_text().count("<svg") == 1
    missing = BenchmarkResults("toy", fabricate.suite(), tmp_path)
    with pytest.raises(ReproodError, match=r"examples\.npz does not exist"):
        make_figure("examples", missing, tmp_path / "a.svg", tmp_path / "a.png")


def test_a_benchmark_without_ood_sets_has_a_page(folder, results, tmp_path, pages):
    record = fabricate.SUITE["benchmarks"]["toy"]
    suite = fabricate.suite(benchmarks={"toy": {**record, "ood": {}, "evaluations": ["classification"]}})
    figures = folder / "reports" / "figures"
    write_report(
        suite,
        [PAPER],
        folder / "verdicts.csv",
        runs=folder / "runs",
        studies=folder / "studies",
        data=folder / "data",
        figures=figures,
        defects=DEFECTS,
        out=tmp_path,
    )
    text = (tmp_path / "benchmarks" / "toy.html").read_text()
    assert "<h2>Classification</h2>" in text
    assert "<h2>Detection</h2>" not in text
    assert len(read(text).images) == 3


def test_unknown_figure_and_table(results, tmp_path):
    with pytest.raises(ReproodError, match="known: leaderboard"):
        make_figure("pie", results, tmp_path / "a.svg", tmp_path / "a.png")
    with pytest.raises(ReproodError, match="known: leaderboard"):
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


def test_latex_survives_every_special_character():
    table = Table("t", "100 % of {a}~b^c", ("x_y", "n & m"), ((Cell("a\\b#$"), Cell("−1.0", "", -1.0)),))
    tex = latex(table)
    assert r"100 \% of \{a\}\textasciitilde{}b\textasciicircum{}c" in tex
    assert r"a\textbackslash{}b\#\$ & $-$1.0 \\" in tex
    assert r"\begin{tabular}{lr}" in tex
    assert markdown(table).splitlines()[1] == "| --- | ---: |"


def test_columns_of_texts_are_told_from_columns_of_numbers():
    number, missing, text = Cell("1.0", "", 1.0), Cell("–"), Cell("a word")
    rows = ((text, text, number, missing, missing), (text, missing, text, number, missing))
    assert Table("t", "", tuple("abcde"), rows).texts == (True, True, False, False, False)
    assert Table("t", "", ("a", "b"), ()).texts == (False, False)


def test_matrix_marks_the_highest_of_each_score(results):
    table = matrix(results)
    assert table.head == ("method", "MSP", "own")
    assert [row[0].text for row in table.rows] == ["Cross-entropy", "Good & better", "Same"], "no broken run"
    for place, score in ((1, "msp"), (2, "own")):
        values = {m: results.values(m, "auroc", "mean_natural", score).mean() for m in results.detecting}
        marked = [row[0].text for row in table.rows if row[place].best]
        assert marked == [results.label(max(values, key=values.get))]
        for row, value in zip(table.rows, values.values(), strict=True):
            assert row[place].value == pytest.approx(100 * value)


def test_published_numbers_stand_beside_what_corresponds(results, tmp_path):
    table = published(PAPER, [results])
    measured = [row[5] for row in table.rows]
    assert measured[0].value == pytest.approx(results.values("good", "top1_error").mean())
    assert measured[1].value == pytest.approx(100 * results.values("good", "auroc", "mean_all", "msp").mean())
    false_positives = results.values("good", "fpr95_id_positive", "near_set", "msp").mean()
    assert measured[2].value == pytest.approx(100 - 100 * false_positives)
    assert [cell.text for cell in measured[3:]] == ["–", "–"]
    assert beside(table).rows == table.rows[:3]
    assert beside(published(PAPER, [])) is None
    assert measured[1].interval.startswith("[")
    assert table.rows[1][-1].text == "unverified citation"
    write_forms(published(PAPER, [results]), tmp_path / "p")
    for form in ("csv", "md", "tex"):
        assert "unverified citation" in (tmp_path / f"p.{form}").read_text()


@pytest.mark.parametrize(
    ("kind", "better", "margin", "claimed"),
    [
        ("difference", "lower", 0, (0, 50)),
        ("difference", "higher", 0, (50, 50)),
        ("non_inferior", "lower", 1, (0, 75)),
        ("non_inferior", "higher", 1, (25, 75)),
        ("equivalent", "higher", 1, (25, 50)),
    ],
)
def test_forest(kind, better, margin, claimed):
    row = {"kind": kind, "better": better, "margin": margin, "metric": "top1_error", "published_effect": -2 / 1.08,
           "effect": 0.5, "low": -1, "high": 1}  # fmt: skip
    drawn = forest(row)
    assert (drawn["low"], drawn["effect"], drawn["width"], drawn["published"]) == (25, 62.5, 50, 3.7)
    assert drawn["claimed"] == claimed
    assert drawn["end"] == "2.0"
    assert forest({**row, "effect": float("nan")}) is None


def test_forest_of_a_value_is_centred_on_the_published_one():
    row = {"kind": "equals", "better": "higher", "margin": 0.02, "metric": "auroc", "published_effect": 0.9,
           "effect": 0.9, "low": 0.89, "high": 0.91}  # fmt: skip
    drawn = forest(row)
    assert (drawn["effect"], drawn["published"]) == (50, 50)
    assert drawn["claimed"] == (21.06, 57.88)


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


def test_pages_are_whole_small_and_bring_nothing_from_elsewhere(pages):
    for name, page in pages.items():
        reader = read(page)
        assert not reader.problems, name
        assert not reader.stack, name
        assert len(reader.ids) == len(set(reader.ids)), name
        assert not re.search(r"@import|url\(\s*['\"]?http", page)
        assert len(page) < 1_000_000


def test_every_link_and_picture_of_the_pages_resolves(folder, pages):
    ids = {name: set(read(page).ids) for name, page in pages.items()}
    outside = ("../results/", "../../results/")  # made by other stages; the fixture has none of them
    for name, page in pages.items():
        reader, here = read(page), (folder / "reports" / name).parent
        for link in [*reader.links, *(image["src"] for image in reader.images)]:
            path, _, part = link.partition("#")
            target = (here / path).resolve() if path else folder / "reports" / name
            if link.startswith(("http", *outside, "tables/")) or "/tables/" in link:
                continue
            assert target.exists(), (name, link)
            if part:
                assert part in ids[str(target.relative_to((folder / "reports").resolve()))], (name, link)


def test_pages_are_accessible(pages):
    assert len(read(pages["benchmarks/toy.html"]).images) == len(KINDS)
    for name, page in pages.items():
        reader = read(page)
        assert all(image["alt"] and image["loading"] == "lazy" and image["width"] for image in reader.images), name
        assert all(scope in ("col", "row") for scope in reader.heads), name
        assert '<html lang="en">' in page
        assert page.count("<h1>") == 1, name
        assert page.count('aria-current="page"') == (not name.startswith("benchmarks/")), name
    assert "prefers-color-scheme: dark" in (TEMPLATES / "report.css").read_text()


def test_every_cell_of_the_pages_is_that_of_the_tables(results, pages):
    rows = {}
    page = pages["benchmarks/toy.html"] + pages["papers/toy.html"]
    for name, body in re.findall(r'<table class="sortable[^"]*" id="([^"]+)">.*?<tbody>(.*?)</tbody>', page, re.S):
        rows[name] = [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", body)
        ]
    tables = {
        "toy-leaderboard": leaderboard(results),
        "toy-hardest": hardest_table(results),
        "provenance-toy": provenance(PAPER, [results], {"toy": {"runs": runs_of(results)}}),
        "toy-classification": classification(results),
        "toy-matrix": matrix(results),
        "toy-detection": detection(results),
        "published-toy": published(PAPER, [results]),
        "beside-toy": beside(published(PAPER, [results])),
    }
    assert rows.keys() == tables.keys()
    for name, table in tables.items():
        for shown, cells in zip(rows[name], table.rows, strict=True):
            for text, cell in zip(shown, cells, strict=True):
                words_alone = re.sub(r'<a class="rows".*?</a>|<span class="unseen">.*?</span>', "", text)
                plain = html.unescape(re.sub(r"<[^>]+>", " ", words_alone)).split()
                assert plain == f"{cell.text} {cell.group} {cell.interval}".split()


def test_every_verdict_and_place_links_to_its_rows(folder, pages):
    page = pages["papers/toy.html"]
    assert page.count("../evidence/papers/toy/c") == len(CLAIMS)
    links = re.findall(r'<a class="rows" href="\.\./([^"]+)"', pages["benchmarks/toy.html"])
    assert links == [f"evidence/benchmarks/toy/{method}.csv" for method in ("good", "erm", "same", "broken")]
    with open(folder / "reports" / links[0], newline="") as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"good"}


def test_texts_cannot_become_markup(pages):
    everything = "".join(pages.values())
    assert "<b>suite</b>" not in everything
    assert "Fabricated &lt;b&gt;suite&lt;/b&gt;" in pages["index.html"]
    assert "<script>alert" not in everything
    assert "<i>near_set</i>" not in everything


def test_verdicts_are_shown_with_their_reasons(pages):
    page = pages["papers/toy.html"]
    assert page.count("supported at reduced scale") >= 2
    assert ">reproduced<" not in "".join(pages.values())
    assert "95 % interval" in page
    assert "This is a reduced scale" in pages["index.html"]


def test_plots_table(folder, results, tmp_path):
    source = folder / "runs" / "toy" / "good" / "0" / "metrics.csv"
    write_plots(source, tmp_path / "plots.csv")
    rows = list(csv.DictReader((tmp_path / "plots.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} == {"msp", "own"}


@pytest.mark.parametrize(
    ("value", "text"), [(1.25, "1.2"), (-0.04, "0.0"), (-0.4, "−0.4"), (float("nan"), "–"), (12.0, "12.0")]
)  # fmt: skip
def test_numbers(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0"), (-0.04, "0.0"), (0.4, "+0.4"), (-0.4, "−0.4")])
def test_differences_have_a_sign(value, text):
    assert signed(value) == text


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(Path(__file__).parents[2] / "notebooks" / "explore.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_notebook_is_run_and_its_errors_are_said(tmp_path):
    from nbformat.v4 import new_code_cell, new_notebook

    slow = "import time\nfor word in ('six', 'seven'):\n    print(word, flush=True)\n    time.sleep(0.5)\nprint(6 * 7)"
    nbformat.write(new_notebook(cells=[new_code_cell(slow)]), tmp_path / "a.ipynb")
    render(tmp_path / "a.ipynb", tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "<pre>six\nseven\n42\n</pre>" in text  # one output, although it came in three pieces
    assert not re.search(r'(src|href)="https?://', text)
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path / "b.ipynb")
    with pytest.raises(ReproodError, match="a cell failed: ZeroDivisionError"):
        render(tmp_path / "b.ipynb", tmp_path / "b.html")
    (tmp_path / "c.ipynb").write_text("no notebook")
    with pytest.raises(ReproodError, match="not a readable notebook"):
        render(tmp_path / "c.ipynb", tmp_path / "c.html")


def test_no_torch():
    program = "import sys, reprood.report.pages, reprood.report.notebook; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("signs", "text"),
    [
        ({"*": "better"}, "higher AUROC on each of the OOD sets"),
        ({"a_b": "better", "c": "worse"}, "higher AUROC on a b; lower on c"),
        ({"c": "worse"}, "lower AUROC on c"),
        ({"c": "worse", "*": "better"}, "higher AUROC on all other OOD sets; lower on c"),
    ],
)
def test_a_pattern_of_signs_is_told(signs, text):
    sides = [{"method": "a", "score": "s"}, {"method": "b", "score": "s"}]
    claim = Claim.model_validate(
        {"id": "c", "statement": "S", "kind": "signs", "over": "sets", "signs": signs, "metric": "auroc",
         "split": "mean_all", "better": "higher", "sides": sides}
    )  # fmt: skip
    assert stated(claim, "AUROC") == text


def test_a_run_that_trained_nothing_has_an_empty_history(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("phase,epoch,lr,train_loss\n")
    assert len(read_history(path)) == 0
    path.write_text("phase,epoch,lr,train_loss\ntrain,one,0.1,2\n")
    with pytest.raises(ReproodError, match="the column epoch must hold finite numbers"):
        read_history(path)
