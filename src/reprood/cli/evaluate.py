"""Commands of the stages evaluate and audit, which the workflow runs; they need no torch."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reprood.cli.options import Out, parse_record, suite_of, validated
from reprood.core.checksums import checked_job
from reprood.core.process import pin_threads
from reprood.pipeline.outputs import EVALUATED_FILES, PREDICTED_FILES, of_runs, within

evaluate_app = typer.Typer(no_args_is_help=True, help="Compute metrics from stored predictions (no torch).")


@evaluate_app.command("runs")
def evaluate_runs(
    spec: Annotated[
        str, typer.Option(help="The benchmark as JSON, with `runs`: [method, seed, run, folder to write].")
    ],
    code: Annotated[str, typer.Option(help="Fingerprints of the code as JSON; without them nothing is reused.")] = "{}",
    state: Annotated[Path, typer.Option(help="Where results are kept for reuse.")] = Path("state/evaluate"),
) -> None:
    """Compute detectors and metrics of a benchmark's runs from their predictions; reuse unchanged ones.

    Example: snakemake -n -p | grep 'reprood evaluate runs'
    """
    pin_threads(1)
    from reprood.config.benchmark import Benchmark
    from reprood.evaluate.run import Code, evaluate_outputs

    record, fingerprints = parse_record(spec, "--spec", "name", "runs"), parse_record(code, "--code")
    name, runs = record.pop("name"), record.pop("runs")
    benchmark = validated(Benchmark, record, "--spec")
    known = Code(fingerprints.get("metrics", ""), fingerprints.get("detectors", {}))
    for method, seed, folder, written in runs:
        run, out = Path(folder), Path(written)
        with checked_job(within(run, PREDICTED_FILES), within(out, EVALUATED_FILES)):
            done = evaluate_outputs(run, benchmark, name, method, seed, out=out, code=known, state=state / out)
        print(f"{name}/{method}/{seed}: {done}", file=sys.stderr, flush=True)


@evaluate_app.command("collect")
def evaluate_collect(
    suite: Annotated[str, typer.Option(help="The suite as JSON, or a file with it.")],
    out: Annotated[Path, typer.Option(help="The suite's folder of results.")],
    root: Annotated[Path, typer.Option(help="The checkout, with the runs.")] = Path(),
) -> None:
    """Write the metrics of all runs as one table, and summaries for `dvc metrics show`.

    Example: snakemake -n -p --until collect_metrics
    """
    pin_threads(1)
    from reprood.evaluate.collect import baselines_of, collect, write_summaries

    record = suite_of(suite)
    jobs = list(record.jobs())
    metrics = of_runs(root, record.folders, jobs, "metrics.csv")
    pairs = dict.fromkeys((benchmark, method) for benchmark, method, _ in jobs)
    parts = [out / "summary" / f"{benchmark}.{method}.json" for benchmark, method in pairs]
    parquet, csv, summary = (out / name for name in ("metrics.parquet", "metrics.csv", "summary.json"))
    with checked_job(metrics, [parquet, csv, summary, *parts]):
        collect(metrics, parquet, csv, summary, baselines_of(record))
        write_summaries(summary, parts)


def audit(
    suite: Annotated[str, typer.Option(help="The suite as JSON, or a file with it.")],
    papers: Annotated[Path, typer.Option(help="Folder of the papers' files.")],
    studies: Annotated[Path, typer.Option(help="Folder of the studies.")],
    out: Out,
    root: Annotated[Path, typer.Option(help="The checkout, with the runs.")] = Path(),
) -> None:
    """Judge every claim of the papers on stored predictions; write one row per claim and benchmark.

    Example: snakemake -n -p --until audit
    """
    pin_threads(1)
    from reprood.audit.papers import judged_files, load_papers
    from reprood.audit.verdicts import audit as judge

    chosen = suite_of(suite)
    reads = of_runs(
        root,
        chosen.folders,
        chosen.jobs(),
        "predictions.parquet",
        *EVALUATED_FILES,
        "model.json",
        "run.json",
        "history.csv",
    )
    reads += [studies / study / "values.csv" for study in chosen.studies]
    with checked_job(reads, [out]):
        judged = load_papers(judged_files(papers.glob("*.yaml"), chosen))
        judge(chosen, judged, root, studies, out, print)
