"""The report's page: one self-contained HTML file, no network, no framework."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd

from reprood.audit.papers import Paper
from reprood.config import Suite
from reprood.files import atomic_path, read_json
from reprood.report import words
from reprood.report.claims import by_paper, overall, shown
from reprood.report.figures import DETECTION
from reprood.report.figures import KINDS as FIGURES
from reprood.report.provenance import data_of, runs_of
from reprood.report.results import BenchmarkResults
from reprood.report.tables import classification, detection, matrix, published

CAPTIONS = {
    "examples": ("What training sees", "The same training images as each method changes them."),
    "curves": (
        "Training curves",
        "Mean over seeds; the band reaches from the lowest to the highest seed. Where labels are mixed, the training "
        "loss is that of the mixed labels and not comparable.",
    ),
    "auroc": ("AUROC by score and method", "Mean over the named OOD sets; a dot a seed, a bar at their mean."),
    "roc": ("ROC", "A panel an OOD set; each method with its own score, or MSP; mean over seeds."),
    "histograms": (
        "Scores",
        "Higher means more in-distribution. First seed; each group has the same area. The axis of MSP spreads what "
        "lies near 1; the last bin holds all above 0.99999.",
    ),
}


def _figure(kind: str, results: BenchmarkResults, folder: Path) -> dict[str, str]:
    path = folder / results.name / f"{kind}.svg"
    title, text = CAPTIONS[kind]
    data = quote(path.read_text(encoding="utf-8"), safe=" !$()*+,-./:;=?@[]_{|}~")  # shorter than base64
    return {
        "title": title,
        "text": text,
        "alt": f"{title}: {results.benchmark.title}. {text}",
        "source": f"data:image/svg+xml,{data}",
        "svg": f"figures/{results.name}/{kind}.svg",
        "png": f"figures/{results.name}/{kind}.png",
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
    kinds = [kind for kind in FIGURES if results.detects or kind not in DETECTION]
    drawn = [kind for kind in kinds if (figures / results.name / f"{kind}.svg").is_file()]
    return {
        "name": results.name,
        "record": results.benchmark,
        "methods": [results.label(method) for method in results.methods],
        "seeds": sorted({len(results.seeds(method)) for method in results.methods}),
        "classification": classification(results),
        "matrix": matrix(results) if results.detects and results.detecting else None,
        "detection": detection(results) if results.detects else None,
        "figures": [_figure(kind, results, figures) for kind in drawn],
        "runs": runs_of(results),
        "data": data_of(results, data),
        "lint": read_json(data / "benchmarks" / results.name / "lint.json"),
    }


def write_page(
    suite: Suite,
    papers: Sequence[Paper],
    verdicts: Path,
    *,
    runs: Path,
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
    runs, data, figures : Path
        Folders of the runs, of the data and of the drawn figures.
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
        runs=len(list(suite.jobs())),
        seconds=sum(run["seconds"] for benchmark in benchmarks for run in benchmark["runs"]),
        notebooks=notebooks,
        plural=words.plural,
    )
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
