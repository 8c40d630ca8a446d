"""Write the report: static HTML pages that need no network and no framework."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from reprood.audit.defects import load_defects
from reprood.audit.papers import Paper
from reprood.audit.studies import read_study
from reprood.config.suite import Suite
from reprood.core.files import atomic_path
from reprood.data.catalogue import load_catalogue
from reprood.report import labels
from reprood.report.claims import by_importance, read_verdicts
from reprood.report.contents import ASSETS, PHONE, TABLE_FORMS, caption_of, figure_types, table_types, tables_of
from reprood.report.evidence_files import write_evidence
from reprood.report.findings import finding
from reprood.report.findings import result_of as result_sentence
from reprood.report.formats import Cell, Table, write_forms
from reprood.report.glossary import explained, glossary
from reprood.report.navigation import ABOUT, menus, search_index, stacked, titled, uses_of, with_contents
from reprood.report.paper_page import paper_page
from reprood.report.provenance import data_of, machines_of, runs_of, sources_of, with_packages
from reprood.report.records import LintRecord, checked
from reprood.report.results import BenchmarkResults
from reprood.report.studies.registry import conclusion, words
from reprood.report.summary import forest_rows, main_claims, positions, result_of, spoken, ticks
from reprood.report.tables import make_table, matrix, study_table


@dataclass(frozen=True)
class Links:
    """The folder of results, and the checkout or release, relative to the report's folder."""

    results: str
    root: str


@dataclass(frozen=True)
class Identity:
    """What a report belongs to, shown on every page.

    Attributes
    ----------
    release : str
        Name of the release; "" for the results of a checkout.
    date : str
        YYYY-MM-DD; "" if unknown.
    revision : str
        Code revision; "" if unknown.
    """

    release: str = ""
    date: str = ""
    revision: str = ""


RELEASE_LINKS = Links("../results", "..")
TEMPLATES = Path(__file__).parent / "templates"
DRAWN = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)  # a text that matplotlib drew as shapes
SIZE = re.compile(r'<svg[^>]*? width="([0-9.]+)pt" height="([0-9.]+)pt"')


def _figure(path: str, title: str, caption: str, about: str, folder: Path) -> dict[str, Any]:
    """Describe a drawn figure for the pages.

    `path` is relative to `folder` and has no ending; `about` states what is shown, without a full stop.
    """
    drawing = (folder / f"{path}.svg").read_text(encoding="utf-8")
    size = SIZE.search(drawing[:1000])
    width, height = (round(float(size[i]) * 4 / 3) for i in (1, 2)) if size else (960, 540)
    return {
        "kind": Path(path).name,
        "title": title,
        "caption": caption,
        "alt": f"{title}. {about}.",
        "chart": "<image" not in drawing,
        "svg": f"figures/{path}.svg",
        "png": f"figures/{path}.png" if (folder / f"{path}.png").is_file() else "",
        "phone": f"figures/{path}{PHONE}.svg" if (folder / f"{path}{PHONE}.svg").is_file() else "",
        "width": width,
        "height": height,
    }


def illustrated(svg: Path, labels_of: Sequence[str]) -> list[str]:
    """Return the methods, by label, that have a row of their own in a figure of training images."""
    drawn = " ".join(" ".join(DRAWN.findall(svg.read_text(encoding="utf-8"))).split())
    return [label for label in labels_of if re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", drawn)]


def _benchmark(results: BenchmarkResults, data: Path, figures: Path) -> dict[str, Any]:
    """Collect what the page of a benchmark shows."""
    record = results.benchmark
    shown, named = figures / results.name / "examples.svg", [results.label(method) for method in results.methods]
    tables = {kind: make_table(kind, results) for kind in tables_of(record)}
    drawn = [one for one in figure_types(record) if (figures / results.name / f"{one.name}.svg").is_file()]
    return {
        "name": results.name,
        "record": record,
        "members": len(results.members) if results.paired else 0,
        "methods": named,
        "seeds": sorted({len(results.seeds(method)) for method in results.methods}),
        "titles": {one.name: one.title for one in table_types(record)},
        "tables": tables,
        "result": result_sentence(results, tables["leaderboard"]),
        "matrix": matrix(results) if results.detects and results.detecting else None,
        "figures": [
            _figure(
                f"{results.name}/{one.name}", one.title, caption_of(one, record), finding(one.name, results), figures
            )
            for one in drawn
        ],
        "illustrated": illustrated(shown, named) if shown.is_file() else [],
        "runs": runs_of(results),
        "data": data_of(results, data),
        "sources": [row for name in results.members for row in data_of(replace(results, name=name), data)],
        "lint": _lint(results, data),
    }


def _lint(results: BenchmarkResults, data: Path) -> dict[str, int]:
    """Return the number of duplicates within and between splits, over all members."""
    paths = [replace(results, name=name).data_path(data, "lint.json") for name in results.members]
    found = [checked(path, LintRecord) for path in paths]
    return {key: sum(sum(one[key].values()) for one in found) for key in ("duplicates", "overlaps")}


def _study(name: str, suite: Suite, studies: Path, figures: Path) -> dict[str, Any]:
    study = suite.studies[name]
    values = read_study(studies / name / "values.csv")
    drawn = (figures / "studies" / f"{name}.svg").is_file()
    found = conclusion(study.use, values)
    return {
        "name": name,
        "record": study,
        "conclusion": found,
        "table": study_table(values, study.title, words(study.use)),
        "figure": _figure(f"studies/{name}", study.title, study.note, found.rstrip("."), figures) if drawn else None,
    }


def _times(benchmarks: Sequence[Mapping[str, Any]]) -> Table:
    """Make the table of training time by benchmark and method."""
    rows = []
    for item in benchmarks:
        for label in dict.fromkeys(run["label"] for run in item["runs"]):
            runs = [run for run in item["runs"] if run["label"] == label]
            total, speed = sum(run["seconds"] for run in runs), sum(run["speed"] for run in runs) / len(runs)
            rows.append(
                (
                    Cell(label),
                    Cell(item["name"]),
                    Cell(str(len(runs)), "", float(len(runs))),
                    Cell(labels.number(total), "", float(total)),
                    Cell(f"{speed:,.0f}", "", float(speed)),
                )
            )
    caption = "Total training time of each method on each benchmark, and images per second (mean over runs)."
    return Table("times", caption, ("method", "benchmark", "trainings", "seconds", "images/s"), tuple(rows))


def _numbers(papers: Sequence[Paper], judged: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the published numbers: all, those cited from memory, those with an arm, those measured in their setting."""
    numbers = [number for paper in papers for number in paper.published]
    return {
        "all": len(numbers),
        "unverified": sum(not number.verified for number in numbers),
        "linked": sum(bool(number.measured_by) for number in numbers),
        "measured": sum(len(item["comparable"].rows) for item in judged if item["comparable"]),
    }


def write_report(
    suite: Suite,
    papers: Sequence[Paper],
    verdicts: Path,
    *,
    root: Path,
    studies: Path,
    data: Path,
    figures: Path,
    defects: Path,
    out: Path,
    links: Links = RELEASE_LINKS,
    notebooks: Sequence[str] = (),
    identity: Identity = Identity(),
    datasets: Path | None = None,
) -> list[str]:
    """Write all pages and return their names, those of `contents.page_names`.

    Parameters
    ----------
    suite, papers
        What ran, and the papers with their claims.
    verdicts : Path
        verdicts.csv.
    root : Path
        The checkout or the release, with the runs.
    studies, data, figures : Path
        Folders of the studies, the data and the figures.
    defects : Path
        defects.yaml.
    out : Path
        The report's folder.
    links : Links
        Paths from there to the results and to `root`.
    notebooks : sequence of str
        Links to rendered notebooks.
    identity : Identity
        The release that the pages belong to, if any.
    datasets : Path, optional
        datasets.yaml, for titles of published data sets and names of packages.
    """
    table = read_verdicts(verdicts)
    names = list(dict.fromkeys(place for place, _, _ in suite.replicated()))
    results = [BenchmarkResults(name, suite, root) for name in names]
    known = load_catalogue([datasets], {}) if datasets is not None else {}
    benchmarks = [_benchmark(one, data, figures) for one in results]
    for item in benchmarks:
        item |= {key: with_packages(item[key], known) for key in ("data", "sources")}
    analysed = [_study(name, suite, studies, figures) for name in suite.studies]
    data_titles = {name: one.title for name, one in known.items()}
    judged = [paper_page(paper, table, suite, results, benchmarks, analysed, data_titles) for paper in papers]
    sources = sources_of(benchmarks)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    links_of = menus(papers, benchmarks, analysed)
    explanations = glossary(suite, papers, results)
    titles = {one["name"]: one["record"].title for one in benchmarks}
    uses = uses_of(judged)
    environment.globals.update(suite=suite, plural=labels.plural, links=links, identity=identity, **links_of)
    environment.globals.update(explained=explained(explanations), titles=titles, uses=uses, official=data_titles)
    named = titles | {name: f"{one.title}, {one.member}" for name, one in suite.benchmarks.items() if one.member}
    environment.filters["titled"] = lambda head: titled(head, named)
    environment.filters["stacked"] = lambda heads: stacked([titled(head, named) for head in heads])
    written: list[str] = []

    evidence = write_evidence(judged, benchmarks, results, suite, studies, out)

    def write(name: str, template: str, **values: Any) -> None:
        root = "../" * name.count("/")
        page = environment.get_template(template).render(root=root, here=name.removesuffix(".html"), **values)
        _write(out / name, with_contents(page))
        written.append(name)

    forest, end = forest_rows(papers, table)
    write(
        "index.html",
        "index.html.j2",
        result=result_of(table, papers),
        main=len(main_claims(table)),
        forest=[row | {"at": positions(row, end), "spoken": spoken(row)} for row in forest],
        ticks=ticks(end),
        papers=sorted(judged, key=lambda item: -item["decided"]),
        counts=by_importance(table),
        numbers=_numbers(papers, judged),
        benchmarks=benchmarks,
        studies=analysed,
        machines=machines_of(benchmarks),
        runs=len(list(suite.jobs())),
        seconds=sum(run["seconds"] for benchmark in benchmarks for run in benchmark["runs"]),
        notebooks=notebooks,
    )
    write("data.html", "data.html.j2", sources=sources, cited=list({row["title"]: row for row in sources}.values()))
    write("environment.html", "environment.html.j2", machines=machines_of(benchmarks), times=_times(benchmarks))
    write("conventions.html", "conventions.html.j2", entries=explanations)
    write("defects.html", "defects.html.j2", defects=[(one, one.shown()) for one in load_defects(defects)])
    for asset in ASSETS:
        _write(out / "assets" / asset, (TEMPLATES / asset).read_text(encoding="utf-8"))
        written.append(f"assets/{asset}")
    _write(out / "assets" / "index.js", search_index(judged, benchmarks, links_of["studies_menu"] + list(ABOUT)))
    written.append("assets/index.js")
    for one in judged:
        stem = f"tables/papers/{one['paper'].id}"
        write_forms(one["published"], out / stem)
        written.extend(f"{stem}{form}" for form in TABLE_FORMS)
        write(f"papers/{one['paper'].id}.html", "paper.html.j2", item=one)
    for one in benchmarks:
        write(f"benchmarks/{one['name']}.html", "benchmark.html.j2", item=one)
    for one in analysed:
        write(f"studies/{one['name']}.html", "study.html.j2", item=one)
    return written + evidence


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
