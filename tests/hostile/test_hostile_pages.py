"""HTML, formulas and markup in names and captions are shown as text on pages, in tables and figures."""

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import fabricate
import pytest

from reprood.audit.papers import load_papers
from reprood.audit.verdicts import audit
from reprood.config.records import FORMULA
from reprood.config.suite import Suite
from reprood.core.files import write_json
from reprood.report.draw import draw_benchmark
from reprood.report.formats import Cell, Table, latex, markdown
from reprood.report.pages import write_report
from reprood.report.results import BenchmarkResults

pytestmark = pytest.mark.hostile

SCRIPT = "x<script>alert(1)</script>"
IMAGE = 'x"><img src=x onerror=alert(2)>'
LINK = "x' onmouseover='alert(3)"
TEMPLATE = "x{{ 7 * 7 }}{% raw %}${7*7}"
MATHS = r"costs $5, not $\frac{1$ & 50 % of #1_a^b ~ \input{/etc/passwd}"
EVERY = " ".join((SCRIPT, IMAGE, LINK, TEMPLATE, MATHS))


class Live(HTMLParser):
    """What a page would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "script" and not re.fullmatch(r"(\.\./)?assets/(report|search)\.js", values.get("src") or ""):
            self.found.append(f"<script {values}>")
        if tag in ("iframe", "object", "embed", "base", "form", "meta") and "http-equiv" in values:
            self.found.append(f"<{tag} {values}>")
        for name, value in attrs:
            if name.startswith("on") or re.match(r"\s*(javascript|vbscript|data:text)", value or "", re.IGNORECASE):
                self.found.append(f"<{tag} {name}={value}>")
        if tag == "img" and not (values.get("src") or "").lstrip("./").startswith("figures/"):
            self.found.append(f"<img {values}>")

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return a report whose texts are all hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    toy = {
        **fabricate.SUITE["benchmarks"]["toy"], "title": f"Toy {EVERY}", "note": f"{EVERY}\n{EVERY}",
        "evaluations": ["classification", "detection"],
    }  # fmt: skip
    methods = {"erm": {"use": "erm", "label": f"A {EVERY}"}, "good": {"use": "cutmix", "label": f"B {SCRIPT} {MATHS}"}}
    record = {
        "title": f"T {EVERY}", "note": EVERY, "benchmarks": {"toy": toy}, "methods": methods,
        "runs": [{"benchmark": "toy", "methods": ["erm", "good"]}],
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fabricate, "COUNT", 60)
        suite: Suite = fabricate.results(folder, **record)
    for split in suite.benchmarks["toy"].splits():
        path = folder / "data/benchmarks/toy" / split / "meta.json"
        meta = json.loads(path.read_text())
        files = [{"from": EVERY, "digest_status": EVERY}]
        write_json(path, {**meta, **dict.fromkeys(("title", "licence", "note", "citation", "homepage"), EVERY),
                          "classes": [SCRIPT, IMAGE], "source": {"kind": EVERY, "files": files}})  # fmt: skip
    for run in folder.glob("runs/toy/*/*"):
        facts = json.loads((run / "run.json").read_text())
        write_json(run / "run.json", {**facts, "device": EVERY, "precision": EVERY, "versions": {EVERY: EVERY}})
        model = json.loads((run / "model.json").read_text())
        write_json(run / "model.json", {**model, "backbone": {"name": EVERY}})
    paper = fabricate.paper(
        {"statement": f"S {EVERY}", "note": EVERY, "metric": "top1_error", "better": "lower", "kind": "difference",
         "sides": [{"method": "good"}, {"method": "erm"}], "published": ["a", "b"]},
        published=[{"id": key, "where": f"W {SCRIPT}", "setting": f"S {IMAGE}", "method": f"M {LINK}", "unit": "%",
                    "metric": "top1_error", "value": 1.0, "source": "paper", "measured_by": arm}
                   for key, arm in (("a", "good"), ("b", "erm"))],
    )  # fmt: skip
    texts = dict.fromkeys(
        ("name", "title", "authors", "venue", "arxiv", "code", "code_licence", "summary", "method"), EVERY
    )
    arms = {"good": {"means": f"G {EVERY}"}, "erm": {"means": f"E {EVERY}"}}
    (folder / "papers").mkdir()
    (folder / "papers/toy.yaml").write_text(json.dumps({**paper, **texts, "arms": arms}))
    papers = load_papers([folder / "papers/toy.yaml"])
    audit(suite, papers, folder, folder / "studies", folder / "verdicts.csv")
    shown = BenchmarkResults("toy", suite, folder, folder / "examples.npz")
    draw_benchmark(shown, folder / "data", folder / "reports")
    defects = [{"id": "d", **dict.fromkeys(("where", "what", "effect", "source"), EVERY)}]
    (folder / "defects.yaml").write_text(json.dumps(defects))
    write_report(
        suite, papers, folder / "verdicts.csv", root=folder, studies=folder / "studies", data=folder / "data",
        figures=folder / "reports/figures", defects=folder / "defects.yaml", out=folder / "reports",
    )  # fmt: skip
    return folder


def test_pages_show_hostile_text_as_text(shown):
    pages = sorted((shown / "reports").rglob("*.html"))
    assert len(pages) >= 7
    seen = 0
    for page in pages:
        live = Live()
        live.feed(page.read_text())
        assert not live.found, (page.name, live.found[:3])
        text = "".join(live.text)
        assert "49" not in re.findall(r"x(49)", text), page.name  # no template in a text was carried out
        seen += text.count("<script>alert(1)</script>")
    assert seen > 20  # it is there, as text


def test_figures_hold_no_script(shown):
    drawn = sorted((shown / "reports/figures").rglob("*.svg"))
    assert len(drawn) >= 4
    for figure in drawn:
        for element in ElementTree.parse(figure).iter():
            assert element.tag.rpartition("}")[2] not in ("script", "foreignObject", "iframe", "a"), figure.name
            for name, value in element.attrib.items():
                assert not name.startswith("on"), figure.name
                assert "javascript:" not in value, figure.name


def number(cell: str) -> bool:
    try:
        float(cell.split(" ")[0])
    except ValueError:
        return False
    return True


def test_no_cell_of_a_table_is_a_formula(shown):
    tables = [*sorted((shown / "reports/tables").rglob("*.csv")), shown / "verdicts.csv"]
    assert len(tables) >= 3
    cells = 0
    for path in tables:
        with open(path, newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream):
                for cell in row:
                    cells += 1
                    assert not cell.startswith(FORMULA) or cell == "-" or number(cell), (path.name, cell)
                    assert not cell.startswith(("\t", "\r")), (path.name, cell)
    assert cells > 50


def test_markdown_and_latex_have_no_live_markup():
    table = Table("t", EVERY, ("method", "error"), ((Cell(EVERY), Cell("1", "", 1.0)),))
    text = markdown(table)
    assert "<script" not in text
    assert "<img" not in text
    assert text.splitlines()[0].count("|") == 3
    tex = latex(table)
    cell = tex.split("\\midrule\n")[1].split(" & 1 ")[0]
    assert not re.search(r"(?<!\\)[%#&$_]", cell), cell
    assert r"\input" not in tex
    assert r"\textbackslash{}input" in tex
