"""The verbs of the report stage: `reprood report ...`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from reprood.cli.options import Out, suite_of
from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError
from reprood.core.process import pin_threads
from reprood.pipeline.outputs import STUDY_FILES, of_runs, of_splits

report_app = typer.Typer(no_args_is_help=True, help="Figures, tables, notebook and page from results (no torch).")


def _results(suite: str, benchmark: str, runs: Path) -> Any:
    from reprood.report.results import BenchmarkResults

    found = suite_of(suite)
    if benchmark not in found.benchmarks:
        raise ReproodError(f"There is no benchmark '{benchmark}' in --suite; known: {', '.join(found.benchmarks)}.")
    return BenchmarkResults(benchmark, found, runs)


SuiteText = Annotated[str, typer.Option("--suite", help="The suite as JSON.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the runs.")]


@report_app.command("draw")
def report_draw(
    benchmark: str,
    suite: SuiteText,
    out: Out,
    runs: Runs = Path("runs"),
    data: Annotated[Path, typer.Option()] = Path("data"),
) -> None:
    """Draw all figures and write all tables of a benchmark: OUT/figures/BENCHMARK/ and OUT/tables/BENCHMARK/."""
    pin_threads(1)
    from reprood.report.contents import figures_of, tables_of
    from reprood.report.draw import draw_benchmark

    results = _results(suite, benchmark, runs)
    record, jobs = results.benchmark, [job for job in results.suite.jobs() if job[0] == benchmark]
    reads = [
        *of_runs(runs, jobs, "predictions.parquet", "metrics.csv", "history.csv"),
        runs / benchmark / "examples.npz",
    ]
    if "maps" in figures_of(record):
        reads += of_splits(data / "benchmarks" / benchmark, ("test", *record.ood))
    writes = [out / "figures" / benchmark / f"{kind}.{form}" for kind in figures_of(record) for form in ("svg", "png")]
    writes += [
        out / "tables" / benchmark / f"{kind}.{form}" for kind in tables_of(record) for form in ("csv", "md", "tex")
    ]
    with checked_job(reads, writes, at=out):
        draw_benchmark(results, data, out)


@report_app.command("study-figure")
def report_study_figure(
    use: str,
    folder: Annotated[Path, typer.Option(help="Folder of the study's results.")],
    svg: Annotated[Path, typer.Option()],
    png: Annotated[Path, typer.Option()],
) -> None:
    """Draw the figure of a study."""
    pin_threads(1)
    from reprood.report.study_figures import draw_study

    with checked_job([folder / name for name in STUDY_FILES], [svg, png]):
        draw_study(use, folder, svg, png)


@report_app.command("plots")
def report_plots(
    metrics: Annotated[Path, typer.Option(help="results/metrics.csv")],
    out: Out,
) -> None:
    """Write the small table that `dvc plots` draws."""
    pin_threads(1)
    from reprood.report.plots import write_plots

    with checked_job([metrics], [out]):
        write_plots(metrics, out)


@report_app.command("notebook")
def report_notebook(notebook: Path, out: Out) -> None:
    """Execute a notebook and render it as one HTML file without network links."""
    pin_threads(1)
    from reprood.report.notebook import render

    with checked_job([Path("results/metrics.parquet"), Path("results/verdicts.csv")], [out]):
        render(notebook, out)


@report_app.command("pages")
def report_pages(
    suite: SuiteText,
    papers: Annotated[Path, typer.Option(help="Folder of the papers' files.")],
    verdicts: Annotated[Path, typer.Option()],
    out: Out,
    runs: Runs = Path("runs"),
    studies: Annotated[Path, typer.Option()] = Path("results/studies"),
    data: Annotated[Path, typer.Option()] = Path("data"),
    figures: Annotated[Path, typer.Option()] = Path("reports/figures"),
    defects: Annotated[Path, typer.Option()] = Path("config/defects.yaml"),
    notebook: Annotated[list[str] | None, typer.Option(help="Links to rendered notebooks.")] = None,
) -> None:
    """Write OUT/index.html and the pages of papers, benchmarks, studies, data and environment."""
    pin_threads(1)
    from reprood.audit.papers import load_papers
    from reprood.report.contents import page_names
    from reprood.report.pages import write_report

    chosen, claimed = suite_of(suite), load_papers(sorted(papers.glob("*.yaml")))
    jobs = list(chosen.jobs())
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _, _ in jobs))
    reads = of_runs(runs, jobs, "predictions.parquet", "metrics.csv", "history.csv", "run.json", "model.json")
    reads += [verdicts, *(studies / name / "values.csv" for name in chosen.studies), *sorted(figures.rglob("*.svg"))]
    reads += [data / "benchmarks" / name / "lint.json" for name in benchmarks]
    reads += [
        data / "benchmarks" / name / split / "meta.json"
        for name in benchmarks
        for split in chosen.benchmarks[name].splits()
    ]
    names = page_names([path.stem for path in sorted(papers.glob("*.yaml"))], benchmarks, list(chosen.studies))
    with checked_job(reads, [out / name for name in names], at=out):
        write_report(
            chosen,
            claimed,
            verdicts,
            runs=runs,
            studies=studies,
            data=data,
            figures=figures,
            defects=defects,
            out=out,
            notebooks=notebook or [],
        )
