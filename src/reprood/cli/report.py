"""Commands of the report stage."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from reprood.cli.options import Out, suite_of
from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError
from reprood.core.process import pin_threads
from reprood.pipeline.outputs import EVALUATED_FILES, SPLIT_FILES, STUDY_FILES, of_runs

report_app = typer.Typer(
    no_args_is_help=True, help="Draw figures and write tables, notebooks and pages from results (no torch)."
)


def _results(suite: str, benchmark: str, root: Path, examples: Path) -> Any:
    from reprood.report.results import BenchmarkResults

    record = suite_of(suite)
    if benchmark not in record.places():
        raise ReproodError(f"There is no benchmark '{benchmark}' in --suite; known: {', '.join(record.places())}.")
    return BenchmarkResults(benchmark, record, root, examples)


SuiteText = Annotated[str, typer.Option("--suite", help="The suite as JSON, or a file with it.")]
Root = Annotated[Path, typer.Option("--root", help="The checkout, with the runs.")]


@report_app.command("draw")
def report_draw(
    benchmark: Annotated[str, typer.Argument(help="The benchmark or family.")],
    suite: Annotated[str, typer.Option("--suite", help="The suite as JSON, or its file results/SUITE/suite.json.")],
    examples: Annotated[Path, typer.Option(help="Folder of augmented images: BENCHMARK.npz.")],
    out: Out,
    root: Root = Path(),
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = Path("data"),
    width: Annotated[
        float | None,
        typer.Option(help="Width of the figures in inches, for a column; default: as on the pages."),
    ] = None,
) -> None:
    """Draw all figures and write all tables of a benchmark: OUT/figures/BENCHMARK/ and OUT/tables/BENCHMARK/.

    Example: snakemake -n -p | grep 'reprood report draw'
    """
    pin_threads(1)
    from reprood.report.contents import drawings_of, figure_types, figures_of, tables_of
    from reprood.report.draw import draw_benchmark

    results = _results(suite, benchmark, root, examples / f"{benchmark}.npz")
    record, jobs = results.benchmark, list(results.suite.jobs())
    reads = [
        *of_runs(root, results.suite.folders, jobs, "predictions.parquet", *EVALUATED_FILES, "history.csv"),
        examples / f"{benchmark}.npz",
    ]
    if any(one.images == "test" for one in figure_types(record)):
        reads += [results.data_path(data, split) / name for split in ("test", *record.ood) for name in SPLIT_FILES]
    writes = [out / "figures" / benchmark / f"{kind}.png" for kind in figures_of(record)]
    drawn = drawings_of(record) if width is None else figures_of(record)
    writes += [out / "figures" / benchmark / f"{name}.svg" for name in drawn]
    writes += [
        out / "tables" / benchmark / f"{kind}.{form}" for kind in tables_of(record) for form in ("csv", "md", "tex")
    ]
    with checked_job(reads, writes, at=out):
        draw_benchmark(results, data, out, width)


@report_app.command("study-figure")
def report_study_figure(
    use: Annotated[str, typer.Argument(help="The kind of study.")],
    folder: Annotated[Path, typer.Option(help="Folder of the study's results.")],
    svg: Annotated[Path, typer.Option(help="SVG file to write.")],
    png: Annotated[Path, typer.Option(help="PNG file to write.")],
) -> None:
    """Draw the figure of a study.

    Example: reprood report study-figure cnc_toy --folder results/quick/studies/cnc_toy --svg toy.svg --png toy.png
    """
    pin_threads(1)
    from reprood.report.study_figures import draw_study

    with checked_job([folder / name for name in STUDY_FILES], [svg, png]):
        draw_study(use, folder, svg, png)


@report_app.command("plots")
def report_plots(
    metrics: Annotated[Path, typer.Option(help="metrics.csv of the suite.")],
    out: Out,
) -> None:
    """Write the small table that `dvc plots` draws.

    Example: reprood report plots --metrics results/quick/metrics.csv --out plots.csv
    """
    pin_threads(1)
    from reprood.report.plots import write_plots

    with checked_job([metrics], [out]):
        write_plots(metrics, out)


@report_app.command("notebook")
def report_notebook(
    notebook: Annotated[Path, typer.Argument(help="The notebook.")],
    results: Annotated[Path, typer.Option(help="The suite's folder of results: the notebook's RESULTS.")],
    out: Out,
) -> None:
    """Execute a notebook and render it as one HTML file without network links.

    Example: reprood report notebook notebooks/gallery.ipynb --results results/quick --out gallery.html
    """
    pin_threads(1)
    from reprood.report.notebook import render

    with checked_job([results / name for name in ("metrics.parquet", "verdicts.csv", "suite.json")], [out]):
        render(notebook, out, {"RESULTS": str(results)})


@report_app.command("pages")
def report_pages(
    suite: SuiteText,
    papers: Annotated[Path, typer.Option(help="Folder of the papers' files.")],
    results: Annotated[Path, typer.Option(help="The suite's folder of results.")],
    out: Out,
    root: Root = Path(),
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = Path("data"),
    defects: Annotated[Path, typer.Option(help="File of known defects.")] = Path("config/defects.yaml"),
    datasets: Annotated[Path | None, typer.Option(help="Catalogue of data sets, for titles and packages.")] = None,
    notebook: Annotated[list[str] | None, typer.Option(help="Links to rendered notebooks.")] = None,
) -> None:
    """Write OUT/index.html and the pages of papers, benchmarks, studies, data and environment.

    Example: snakemake -n -p --until pages
    """
    pin_threads(1)
    from reprood.audit.papers import judged_files, load_papers
    from reprood.publish.build import code_revision
    from reprood.report.contents import page_names
    from reprood.report.pages import Identity, Links, write_report

    record = suite_of(suite)
    files_of_papers = judged_files(papers.glob("*.yaml"), record)
    published = load_papers(files_of_papers)
    jobs = list(record.jobs())
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _, _ in jobs))
    verdicts, studies, figures = results / "verdicts.csv", results / "studies", out / "figures"
    files = ("predictions.parquet", *EVALUATED_FILES, "history.csv", "run.json", "model.json")
    reads = of_runs(root, record.folders, jobs, *files)
    reads += [verdicts, *(studies / name / "values.csv" for name in record.studies), *sorted(figures.rglob("*.svg"))]
    for name in benchmarks:
        folder = data / "benchmarks" / record.folders.benchmark(name)
        reads += [folder / "lint.json", *(folder / split / "meta.json" for split in record.benchmarks[name].splits())]
    places = list(dict.fromkeys(place for place, _, _ in record.replicated()))
    names = page_names([path.stem for path in files_of_papers], places, list(record.studies))
    with checked_job(reads, [out / name for name in names], at=out):
        write_report(
            record,
            published,
            verdicts,
            root=root,
            studies=studies,
            data=data,
            figures=figures,
            defects=defects,
            out=out,
            links=Links(os.path.relpath(results, out), os.path.relpath(root, out)),
            notebooks=notebook or [],
            identity=Identity(revision=code_revision(root)),
            datasets=datasets,
        )
