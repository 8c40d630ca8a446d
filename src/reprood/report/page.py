"""The report's page: one self-contained HTML file, no network, no framework."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd

from reprood.audit.papers import Paper
from reprood.audit.replicated import read_study
from reprood.config import Suite
from reprood.files import atomic_path, read_json
from reprood.kinds import figures_of, tables_of
from reprood.report import words
from reprood.report.claims import by_paper, overall, shown
from reprood.report.provenance import data_of, runs_of
from reprood.report.results import BenchmarkResults
from reprood.report.robustness import robustness_table
from reprood.report.tables import (
    classification,
    detection,
    family,
    localisation,
    matrix,
    open_set,
    published,
    segmentation,
    study_table,
)

CAPTIONS = {
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


def _figure(path: str, title: str, text: str, about: str, folder: Path) -> dict[str, str]:
    """A drawn figure, `path` below `folder` without its ending, as the page shows it."""
    drawn = (folder / f"{path}.svg").read_text(encoding="utf-8")
    data = quote(drawn, safe=" !$()*+,-./:;=?@[]_{|}~")  # shorter than base64
    return {
        "title": title,
        "text": text,
        "alt": f"{title}: {about}. {text}",
        "source": f"data:image/svg+xml,{data}",
        "svg": f"figures/{path}.svg",
        "png": f"figures/{path}.png",
    }


def _paper(paper: Paper, verdicts: pd.DataFrame, suite: Suite, results: Sequence[BenchmarkResults]) -> dict[str, Any]:
    claims = {claim.id: claim for claim in paper.claims}
    rows = verdicts[verdicts["paper"] == paper.id]
    return {
        "paper": paper,
        "counts": overall(rows),
        "claims": [shown(row, claims[row["claim"]], paper, suite) for row in rows.to_dict("records")],
        "published": published(paper, results),
    }


def _benchmark(results: BenchmarkResults, data: Path, figures: Path) -> dict[str, Any]:
    drawn = [kind for kind in figures_of(results.benchmark) if (figures / results.name / f"{kind}.svg").is_file()]
    asked = tables_of(results.benchmark)
    return {
        "name": results.name,
        "record": results.benchmark,
        "methods": [results.label(method) for method in results.methods],
        "seeds": sorted({len(results.seeds(method)) for method in results.methods}),
        "classification": classification(results) if "classification" in asked else None,
        "robustness": robustness_table(results) if "robustness" in asked else None,
        "localisation": localisation(results) if "localisation" in asked else None,
        "open_set": open_set(results) if "open_set" in asked else None,
        "segmentation": segmentation(results) if "segmentation" in asked else None,
        "matrix": matrix(results) if results.detects and results.detecting else None,
        "detection": detection(results) if results.detects else None,
        "figures": [
            _figure(f"{results.name}/{kind}", *CAPTIONS[kind], results.benchmark.title, figures) for kind in drawn
        ],
        "runs": runs_of(results),
        "data": data_of(results, data),
        "lint": read_json(data / "benchmarks" / results.name / "lint.json"),
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
    """Families with the table over their members; the members' own sections follow them on the page."""
    found = []
    for name, members in suite.families().items():
        chosen = [one for one in results if one.name in members]
        if chosen:
            title = chosen[0].benchmark.title.rpartition(":")[0]
            found.append({"name": name, "title": title, "members": list(members), "table": family(title, chosen)})
    return found


def write_page(
    suite: Suite,
    papers: Sequence[Paper],
    verdicts: Path,
    *,
    runs: Path,
    studies: Path,
    data: Path,
    figures: Path,
    out: Path,
    notebooks: Sequence[str] = (),
) -> None:
    """Write `index.html`.

    Parameters
    ----------
    suite, papers
        What ran and what is claimed.
    verdicts : Path
        verdicts.csv.
    runs, studies, data, figures : Path
        Folders of the runs, of the studies, of the data and of the drawn figures.
    out : Path
        The page; links are relative to it.
    notebooks : sequence of str
        Links to rendered notebooks.
    """
    table = pd.read_csv(verdicts, keep_default_na=True, dtype={"published_source": str, "benchmark": str})
    names = list(dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()))
    results = [BenchmarkResults(name, suite, runs) for name in names]
    benchmarks = [_benchmark(one, data, figures) for one in results]
    kinds, counted = by_paper(table, papers)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        suite=suite,
        papers=[_paper(paper, table, suite, results) for paper in papers],
        overall=overall(table),
        kinds=kinds,
        counted=counted,
        benchmarks=benchmarks,
        families=_families(suite, results),
        studies=[_study(name, suite, studies, figures) for name in suite.studies],
        runs=len(list(suite.jobs())),
        seconds=sum(run["seconds"] for benchmark in benchmarks for run in benchmark["runs"]),
        notebooks=notebooks,
        plural=words.plural,
    )
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
