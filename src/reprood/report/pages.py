"""The report: static HTML pages that need no network and no framework."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from reprood.audit.defects import load_defects
from reprood.audit.papers import Paper
from reprood.audit.replicated import read_study
from reprood.config.suite import Suite
from reprood.core.files import atomic_path
from reprood.report import words
from reprood.report.claims import overall, read_verdicts
from reprood.report.contents import ASSETS, TABLE_FORMS, figures_of, tables_of
from reprood.report.evidence import write_evidence
from reprood.report.families import family
from reprood.report.forms import Cell, Table, write_forms
from reprood.report.hardest import hardest_table
from reprood.report.leaderboard import leaderboard
from reprood.report.paper_page import paper_page
from reprood.report.provenance import data_of, machines_of, runs_of, sources_of
from reprood.report.records import LintRecord, checked
from reprood.report.results import BenchmarkResults
from reprood.report.robustness import robustness_table
from reprood.report.tables import (
    classification,
    detection,
    localisation,
    matrix,
    open_set,
    segmentation,
    study_table,
)


@dataclass(frozen=True)
class Links:
    """Where the pages find the folders of results and of runs, relative to the report's folder."""

    results: str
    runs: str


RELEASE_LINKS = Links("../results", "../runs")
TEMPLATES = Path(__file__).parent / "templates"
SIZE = re.compile(r'<svg[^>]*? width="([0-9.]+)pt" height="([0-9.]+)pt"')
CAPTIONS = {
    "leaderboard": (
        "Who can be told apart",
        "Means over seeds with 95 % intervals. A bar joins methods that were not told apart; it has a dot at each of "
        "them, and those that it passes by are not in the group. The letters are those of the table.",
    ),
    "examples": ("What training sees", "The same training images as each method changes them."),
    "curves": (
        "Training curves",
        "Mean over seeds; the band reaches from the lowest to the highest seed. Where labels are mixed, the training "
        "loss is that of the mixed labels and not comparable.",
    ),
    "auroc": ("AUROC by score and method", "Mean over the named OOD sets; a dot a seed, a bar at their mean."),
    "robustness": (
        "Under changed conditions",
        "Top-1 error on changed copies of the test set; a dot a seed, a bar at their mean.",
    ),
    "hardest": (
        "Hardest images",
        "Above: ID test images that the leading method rejects most confidently in every seed, with their class; "
        "below: OOD images that it accepts so, with their set. Percent of the ID test images that score lower, mean "
        "over seeds.",
    ),
    "boxes": (
        "Where methods see the object",
        "Test images, every class in turn; solid, blue: the true box; dashed, orange: the box of the class activation "
        "map of the predicted class. First seed. Below each image: overlap (IoU) of the two.",
    ),
    "maps": (
        "Where images are anomalous",
        "Maps of the first seed over test images; outlined: the true defect. Colours from the median to the highest "
        "value of a method.",
    ),
    "roc": ("ROC", "A panel an OOD set; each method with its own score, or MSP; mean over seeds."),
    "histograms": (
        "Scores",
        "Higher means more in-distribution. First seed; each group has the same area. The axis of MSP spreads what "
        "lies near 1; the last bin holds all above 0.99999.",
    ),
}


TABLES = {
    "leaderboard": leaderboard,
    "classification": classification,
    "robustness": robustness_table,
    "localisation": localisation,
    "segmentation": segmentation,
    "open_set": open_set,
    "hardest": hardest_table,
}


def _figure(path: str, title: str, text: str, about: str, folder: Path) -> dict[str, Any]:
    """A drawn figure, `path` below `folder` without its ending, as the pages show it."""
    with open(folder / f"{path}.svg", encoding="utf-8") as stream:
        size = SIZE.search(stream.read(1000))
    width, height = (round(float(size[i]) * 4 / 3) for i in (1, 2)) if size else (960, 540)
    return {
        "kind": Path(path).name,
        "title": title,
        "text": text,
        "alt": f"{title}: {about}. {text}",
        "svg": f"figures/{path}.svg",
        "png": f"figures/{path}.png" if (folder / f"{path}.png").is_file() else "",
        "width": width,
        "height": height,
    }


def _benchmark(results: BenchmarkResults, data: Path, figures: Path) -> dict[str, Any]:
    drawn = [kind for kind in figures_of(results.benchmark) if (figures / results.name / f"{kind}.svg").is_file()]
    asked = tables_of(results.benchmark)
    return {
        "name": results.name,
        "record": results.benchmark,
        "methods": [results.label(method) for method in results.methods],
        "seeds": sorted({len(results.seeds(method)) for method in results.methods}),
        **{name: make(results) if name in asked else None for name, make in TABLES.items()},
        "matrix": matrix(results) if results.detects and results.detecting else None,
        "detection": detection(results) if results.detects else None,
        "figures": [
            _figure(f"{results.name}/{kind}", *CAPTIONS[kind], results.benchmark.title, figures) for kind in drawn
        ],
        "runs": runs_of(results),
        "data": data_of(results, data),
        "lint": checked(results.data_path(data, "lint.json"), LintRecord),
    }


def _study(name: str, suite: Suite, studies: Path, figures: Path) -> dict[str, Any]:
    study = suite.studies[name]
    values = read_study(studies / name / "values.csv")
    drawn = (figures / "studies" / f"{name}.svg").is_file()
    return {
        "name": name,
        "record": study,
        "table": study_table(values, study.title),
        "figure": _figure(f"studies/{name}", study.title, study.note, "study", figures) if drawn else None,
    }


def _families(suite: Suite, results: Sequence[BenchmarkResults]) -> list[dict[str, Any]]:
    """Families with the table over their members."""
    found = []
    for name, members in suite.families().items():
        chosen = [one for one in results if one.name in members]
        if chosen:
            title = chosen[0].benchmark.title.rpartition(":")[0]
            found.append({"name": name, "title": title, "members": list(members), "table": family(title, chosen)})
    return found


def _times(benchmarks: Sequence[Mapping[str, Any]]) -> Table:
    """Training time by benchmark and method."""
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
                    Cell(words.number(total), "", float(total)),
                    Cell(f"{speed:,.0f}", "", float(speed)),
                )
            )
    caption = "Seconds of all trainings of a method on a benchmark, and images per second, mean over its runs."
    return Table("times", caption, ("method", "benchmark", "trainings", "seconds", "images/s"), tuple(rows))


def write_report(
    suite: Suite,
    papers: Sequence[Paper],
    verdicts: Path,
    *,
    runs: Path,
    studies: Path,
    data: Path,
    figures: Path,
    defects: Path,
    out: Path,
    links: Links = RELEASE_LINKS,
    notebooks: Sequence[str] = (),
) -> list[str]:
    """Write all pages and return their names, those of `contents.page_names`.

    Parameters
    ----------
    suite, papers
        What ran and what is claimed.
    verdicts : Path
        verdicts.csv.
    runs, studies, data, figures : Path
        Folders of the runs, of the studies, of the data and of the drawn figures.
    defects : Path
        defects.yaml.
    out : Path
        The report's folder.
    links : Links
        From there to the results and runs.
    notebooks : sequence of str
        Links to rendered notebooks.
    """
    table = read_verdicts(verdicts)
    names = list(dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()))
    results = [BenchmarkResults(name, suite, runs) for name in names]
    benchmarks = [_benchmark(one, data, figures) for one in results]
    analysed = [_study(name, suite, studies, figures) for name in suite.studies]
    judged = [paper_page(paper, table, suite, results, benchmarks, analysed) for paper in papers]
    sources = sources_of(benchmarks)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(suite=suite, all_papers=papers, plural=words.plural, links=links)
    written: list[str] = []

    evidence = write_evidence(judged, benchmarks, results, suite, studies, out)

    def write(name: str, template: str, **values: Any) -> None:
        root = "../" * name.count("/")
        page = environment.get_template(template).render(root=root, here=name.removesuffix(".html"), **values)
        _write(out / name, page)
        written.append(name)

    write(
        "index.html",
        "index.html.j2",
        papers=judged,
        overall=overall(table),
        benchmarks=benchmarks,
        families=_families(suite, results),
        studies=analysed,
        machines=machines_of(benchmarks),
        runs=len(list(suite.jobs())),
        seconds=sum(run["seconds"] for benchmark in benchmarks for run in benchmark["runs"]),
        notebooks=notebooks,
    )
    write("data.html", "data.html.j2", sources=sources, cited=list({row["title"]: row for row in sources}.values()))
    write("environment.html", "environment.html.j2", machines=machines_of(benchmarks), times=_times(benchmarks))
    write("conventions.html", "conventions.html.j2")
    write("defects.html", "defects.html.j2", defects=[(one, one.shown()) for one in load_defects(defects)])
    for asset in ASSETS:
        _write(out / "assets" / asset, (TEMPLATES / asset).read_text(encoding="utf-8"))
        written.append(f"assets/{asset}")
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
