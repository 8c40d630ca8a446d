"""Which figures, tables and pages a report has: what the workflow asks for and the report stage writes."""

from collections.abc import Sequence

from reprood.config.benchmark import Benchmark
from reprood.config.conditions import conditions

TABLE_FORMS = (".csv", ".md", ".tex")
ASSETS = ("report.css", "report.js")
OF_DATA = ("hardest", "maps", "boxes")  # figures that show test images


def page_names(papers: Sequence[str], benchmarks: Sequence[str], studies: Sequence[str]) -> list[str]:
    """The files of a report's pages, relative to its folder."""
    return [
        "index.html",
        "data.html",
        "environment.html",
        "conventions.html",
        "defects.html",
        *(f"assets/{name}" for name in ASSETS),
        *(f"papers/{name}.html" for name in papers),
        *(f"tables/papers/{name}{form}" for name in papers for form in TABLE_FORMS),
        *(f"benchmarks/{name}.html" for name in benchmarks),
        *(f"studies/{name}.html" for name in studies),
    ]


def figures_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Kinds of figures, in the order of the page."""
    names = ["leaderboard", *([] if benchmark.family else ["examples"]), "curves"]
    if "detection" in benchmark.evaluations:
        names += ["auroc", "roc", "histograms", "hardest"]
    if "segmentation" in benchmark.evaluations:
        names.append("maps")
    if "localisation" in benchmark.evaluations:
        names.append("boxes")
    if conditions(benchmark):
        names.append("robustness")
    return tuple(names)


def tables_of(benchmark: Benchmark) -> tuple[str, ...]:
    """Kinds of tables, in the order of the page."""
    names = ["leaderboard"]
    if "classification" in benchmark.evaluations:
        names.append("classification")
    if "detection" in benchmark.evaluations:
        names += ["detection", "hardest"]
    if "open_set" in benchmark.evaluations:
        names.append("open_set")
    if "segmentation" in benchmark.evaluations:
        names.append("segmentation")
    if conditions(benchmark):
        names.append("robustness")
    if "localisation" in benchmark.evaluations:
        names.append("localisation")
    return tuple(names)
