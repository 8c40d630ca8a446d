"""The command line: one verb a stage, each a thin reader of arguments.

Nothing with scientific meaning stands here, because this module is outside every fingerprint.
Heavy packages are imported inside the commands, so that `--help` and completion stay fast.
"""

import atexit
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from reprood.cli import publish as cli_publish
from reprood.cli.data import data_app
from reprood.cli.offload import offload_app
from reprood.cli.options import Out, parse_record, suite_of, validated
from reprood.cli.preload import run_preloaded
from reprood.cli.progress import ImageLog
from reprood.cli.report import report_app
from reprood.cli.why import why
from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path
from reprood.core.messages import printable
from reprood.core.process import CHECKPOINT_SECONDS, DEVICE, STOPPED, pin_threads
from reprood.pipeline.outputs import (
    EVALUATED_FILES,
    MODEL_FILES,
    PREDICTED_FILES,
    STUDY_FILES,
    of_runs,
    of_splits,
    resume_key,
    within,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Re-run, audit and publish results on out-of-distribution detection and robustness.\n\n"
    "The stages stand in one line: data, train, predict, evaluate, audit, report. "
    "[bold]snakemake --cores all[/bold] runs them all; each of its jobs is one of these commands.",
)
evaluate_app = typer.Typer(no_args_is_help=True, help="Compute metrics from stored predictions (no torch).")
app.add_typer(data_app, name="data")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(report_app, name="report")
app.add_typer(offload_app, name="offload")
for verb in (cli_publish.publish, cli_publish.verify, cli_publish.compare, why):
    app.command()(verb)

JOBS = ("data", "train", "predict", "study", "evaluate", "audit", "examples", "report")  # verbs that the workflow runs
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
Device = Annotated[str, typer.Option("--device", envvar=DEVICE, help="auto, cpu or cuda.")]
ShareGpu = Annotated[bool, typer.Option("--share-gpu", help="Do not wait until the GPU is free of other jobs.")]


def _gpu(device: str, share: bool) -> AbstractContextManager[str | None]:
    """Hold one GPU for a job, unless it may share the visible one with others."""
    from reprood.core.gpus import one_gpu

    return nullcontext() if share else one_gpu(device)


@contextmanager
def _sigterm_noted() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether SIGTERM has come; a second SIGTERM ends the process at once."""
    received = []

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def train(
    settings: Annotated[str, typer.Option(help="The run's settings as JSON.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    out: Out,
    code: Annotated[str, typer.Option(help="Fingerprint of the code; recorded, and keys the resume state.")] = "",
    threads: Threads = 1,
    device: Device = "auto",
    checkpoint_seconds: Annotated[
        float, typer.Option(envvar=CHECKPOINT_SECONDS, help="Seconds between two checkpoints.")
    ] = 30.0,
    share_gpu: ShareGpu = False,
    data_parallel: Annotated[
        bool, typer.Option("--data-parallel", help="Share every batch with the other processes started by torchrun.")
    ] = False,
) -> None:
    """Train one run (benchmark x method x seed); resumes from its last checkpoint if there is one.

    On SIGTERM the training writes a checkpoint and exits with status 75.
    """
    pin_threads(threads)
    from reprood.core.machine import describe_machine
    from reprood.core.progress import TrainingProgress

    record = parse_record(settings, "--settings", "benchmark", "method", "seed")
    name = "/".join(out.parts[-3:])
    reads = of_splits(data, ("train", "validation", "test", *record.get("auxiliary", ())))
    writes = within(out, MODEL_FILES) if not data_parallel or os.environ.get("RANK", "0") == "0" else []
    heartbeat = Path("logs/heartbeat") / f"{name.replace('/', '.')}.json" if writes else None
    with checked_job(reads, writes), _gpu(device, share_gpu), TrainingProgress(heartbeat) as progress:
        from reprood.engine.run import Stopped
        from reprood.train.run import train_run

        try:
            with _sigterm_noted() as stop:
                train_run(
                    record,
                    data=data,
                    out=out,
                    state=Path("state/train") / name / resume_key(settings, code),
                    device=device,
                    threads=threads,
                    checkpoint_seconds=checkpoint_seconds,
                    code=code,
                    machine=describe_machine(),
                    progress=progress,
                    stop=stop,
                    data_parallel=data_parallel,
                )
        except Stopped as stopped:
            raise typer.Exit(STOPPED) from stopped


@app.command()
def predict(
    settings: Annotated[str, typer.Option(help="Splits and requested outputs as JSON.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    run: Annotated[Path, typer.Option(help="Folder of the trained run.")],
    out: Out,
    threads: Threads = 1,
    device: Device = "auto",
    share_gpu: ShareGpu = False,
) -> None:
    """Run a trained model on every test split; write predictions.parquet and features.safetensors."""
    pin_threads(threads)
    record = parse_record(settings, "--settings", "splits")
    reads = [*of_splits(data, record["splits"]), *within(run, MODEL_FILES[:2])]
    with checked_job(reads, within(out, PREDICTED_FILES)), _gpu(device, share_gpu):
        from reprood.predict.run import predict_run

        predict_run(
            run,
            {split: data / split for split in record["splits"]},
            out,
            requests=record,
            device=device,
            threads=threads,
            progress=ImageLog(str(run)),
        )


@app.command()
def study(
    settings: Annotated[str, typer.Option(help="The study's settings as JSON.")],
    out: Out,
    code: Annotated[str, typer.Option(help="Fingerprint of the code; keys the resume state.")] = "",
    data: Annotated[Path, typer.Option(help="Folder of the benchmarks' splits.")] = Path("data/benchmarks"),
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    threads: Threads = 1,
    device: Device = "auto",
) -> None:
    """Carry out a study: an analysis that is not a benchmark (a toy problem, a mechanism, a timing)."""
    pin_threads(threads)
    from reprood.config.folders import Folders

    keys = ("name", "use", "set", "seeds", "benchmark", "methods", "suite_seed", "folders")
    record = parse_record(settings, "--settings", *keys)
    jobs = [(record["benchmark"], method, seed) for method in record["methods"] for seed in record["seeds"]]
    folders = validated(Folders, record["folders"], "--settings: folders")
    reads = of_runs(runs, folders, jobs, *MODEL_FILES[:2])
    if record["benchmark"]:
        splits = ("train", "validation", "test", *record["auxiliary"])
        reads += of_splits(data / folders.trained(record["benchmark"]), splits)
    with checked_job(reads, within(out, STUDY_FILES)), _gpu(device, share=False):
        from reprood.studies.run import run_study

        state = Path("state/study") / record["name"] / resume_key(settings, code)
        run_study(record, data=data, runs=runs, out=out, state=state, device=device, threads=threads)


@evaluate_app.command("runs")
def evaluate_runs(
    spec: Annotated[str, typer.Option(help="The benchmark as JSON, with `runs`: folder -> [method, seed].")],
    code: Annotated[str, typer.Option(help="Fingerprints of the code as JSON; without them nothing is reused.")] = "{}",
    state: Annotated[Path, typer.Option(help="Where results are kept for reuse.")] = Path("state/evaluate"),
) -> None:
    """Compute detectors and metrics of a benchmark's runs from their predictions; unchanged ones are reused."""
    pin_threads(1)
    from reprood.config.benchmark import Benchmark
    from reprood.evaluate.run import Code, evaluate_outputs

    record, fingerprints = parse_record(spec, "--spec", "name", "runs"), parse_record(code, "--code")
    name, runs = record.pop("name"), record.pop("runs")
    benchmark = validated(Benchmark, record, "--spec")
    known = Code(fingerprints.get("metrics", ""), fingerprints.get("detectors", {}))
    for folder, (method, seed) in runs.items():
        run, kept = Path(folder), state.joinpath(*Path(folder).parts[-3:])
        with checked_job(within(run, PREDICTED_FILES), within(run, EVALUATED_FILES)):
            done = evaluate_outputs(run, benchmark, name, method, seed, code=known, state=kept)
        print(f"{name}/{method}/{seed}: {done}", file=sys.stderr, flush=True)


@evaluate_app.command("collect")
def evaluate_collect(
    metrics: list[Path],
    parquet: Annotated[Path, typer.Option()],
    csv: Annotated[Path, typer.Option()],
    summary: Annotated[Path, typer.Option()],
    part: Annotated[list[Path] | None, typer.Option(help="<benchmark>.<method>.json to write as well.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="BENCHMARK=METHOD by which corruption errors are normalised.")
    ] = None,
) -> None:
    """All runs' metrics in one table, and summaries for `dvc metrics show`."""
    pin_threads(1)
    from reprood.evaluate.collect import collect, write_summaries

    pairs = [pair.partition("=") for pair in baseline or []]
    if not all(name and equals and method for name, equals, method in pairs):
        raise ReproodError(f"--baseline is {baseline}; expected BENCHMARK=METHOD.")
    parts = part or []
    with checked_job(metrics, [parquet, csv, summary, *parts]):
        collect(metrics, parquet, csv, summary, {name: method for name, _, method in pairs})
        write_summaries(summary, parts)


@app.command()
def audit(
    suite: Annotated[str, typer.Option(help="The suite as JSON.")],
    papers: Annotated[Path, typer.Option(help="Folder of the papers' files.")],
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")],
    studies: Annotated[Path, typer.Option(help="Folder of the studies.")],
    record: Annotated[Path, typer.Option(help="Where the suite is written as JSON, for the readers of its results.")],
    out: Out,
) -> None:
    """Judge every claim of the papers on the stored predictions; write one row per claim and benchmark."""
    pin_threads(1)
    from reprood.audit.papers import load_papers
    from reprood.audit.verdicts import audit as judge

    chosen = suite_of(suite)
    reads = of_runs(runs, chosen.folders, chosen.jobs(), "predictions.parquet", *EVALUATED_FILES, "model.json")
    reads += [studies / study / "values.csv" for study in chosen.studies]
    with checked_job(reads, [out, record]):
        with atomic_path(record) as temporary:
            temporary.write_text(suite + "\n", encoding="utf-8")  # in the suite's own order
        judge(chosen, load_papers(sorted(papers.glob("*.yaml"))), runs, studies, out, print)


@app.command()
def examples(
    settings: Annotated[str, typer.Option(help="Training records by method, as JSON.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    out: Out,
) -> None:
    """Show what each method does to the same training images; written as arrays for the report."""
    pin_threads(1)
    from reprood.train.examples import draw_examples

    with checked_job(of_splits(data, ("train",)), [out]):
        draw_examples(parse_record(settings, "--settings"), data / "train", out)


@app.command("list")
def list_command(
    what: Annotated[str, typer.Argument(help="datasets, benchmarks, methods, detectors, suites or claims.")],
) -> None:
    """List what there is to choose from.

    Example: reprood list suites
    """
    from rich.console import Console
    from rich.table import Table

    from reprood.cli.list import LISTS

    if what not in LISTS:
        raise ReproodError(f"There is no list of '{what}'; choose one of {', '.join(LISTS)}.")
    head, rows = LISTS[what](Path())
    if not sys.stdout.isatty():  # for other programs: tab-separated, nothing cut
        print("\n".join("\t".join(row) for row in (head, *rows)))
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@app.command()
def check(
    suite: Annotated[str, typer.Option(help="Name or path of the suite.")] = "quick",
    trial: Annotated[bool, typer.Option("--trial", help="Also train each for two steps on random images.")] = False,
    threads: Threads = 1,
    device: Device = "auto",
) -> None:
    """Validate every setting of a suite and build its networks; with --trial, train each for a moment.

    Example: reprood check --suite quick
    """
    pin_threads(threads)
    from reprood.cli.list import check as check_suite

    for line in check_suite(suite, Path.cwd()):
        print(line)
    if trial:
        from reprood.cli.trial import trial as try_suite

        for line in try_suite(suite, Path.cwd(), device):
            print(line, flush=True)


@app.command()
def watch(
    once: Annotated[bool, typer.Option("--once", help="Print the table once and leave.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the heartbeats are.")] = Path("logs/heartbeat"),
) -> None:
    """Show the running trainings: epoch, loss, speed, time left."""
    from reprood.cli.watch import watch as show

    show(folder, once=once)


@app.command()
def intact(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the damaged files; the next run makes them.")
    ] = False,
) -> None:
    """Read every result in this checkout and say which are not what their jobs wrote (SHA256SUMS beside them)."""
    from reprood.core.checksums import damaged

    found = damaged(Path())
    for name in found:
        print(name)
        if remove:
            Path(name).unlink()
    if found and not remove:
        raise ReproodError(
            f"{len(found)} of the files are damaged, or were changed by hand; remove them with "
            "`reprood intact --remove` and run the workflow again: they are made anew."
        )
    print(
        f"{len(found)} files removed; run the workflow again." if found else "Every listed file is what its job wrote."
    )


@app.command()
def times(folder: Annotated[Path, typer.Option(help="Where the jobs' logs are.")] = Path("logs")) -> None:
    """Show what the finished jobs took, by kind and method: wall seconds and CPU-seconds."""
    from reprood.cli.times import table

    for line in table(folder):
        print(line)


def _tell(begun: float) -> None:
    """The last line of a job's log; Snakemake's own benchmarks poll every process and cost a sixth of the machine."""
    used = os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    print(f"took {time.monotonic() - begun:.2f} s, {cpu:.2f} CPU-s", file=sys.stderr)


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
PRIMITIVE = "could not create a primitive"  # all that oneDNN says; nearly always it lacks memory
MEMORY = ("OutOfMemoryError", "can't allocate memory", "out of memory", "Cannot allocate memory", PRIMITIVE)


def _lacks_memory(error: Exception) -> bool:
    """Python, numpy and pyarrow raise kinds of MemoryError, torch a RuntimeError that differs by device."""
    told = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(words in told for words in MEMORY)


def of_the_system(error: OSError) -> str:
    """What the operating system refused, as a sentence."""
    name = error.filename if isinstance(error.filename, str) else "a file"
    if error.errno in DISK:
        what = f"{error.strerror} ({name})"
        return f"{what}; free some space or make it writable, then give the same command again."
    return f"{name}: {error.strerror or error}; check the path and who may read or write it."


def main() -> None:
    """Run the command line, as a fork of the process with preloaded libraries if the workflow has started one."""
    status = run_preloaded()
    if status is not None:
        sys.exit(status)
    run_command()


def run_command() -> None:
    """Run the command line; a mistake of the user ends with one sentence on standard error and status 1."""
    if not sys.stderr.isatty() and sys.argv[1:2] and sys.argv[1] in JOBS:
        atexit.register(_tell, time.monotonic())
    try:
        app()
    except ReproodError as mistake:
        sys.exit(f"error: {printable(str(mistake))}")
    except OSError as error:
        sys.exit(f"error: {printable(of_the_system(error))}")
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        sys.exit(
            f"error: Not enough memory for `reprood {' '.join(sys.argv[1:2])}` ({reason}); nothing was written. Free "
            "some, or run fewer jobs at a time (snakemake --cores 1), then give the same command again. No smaller "
            "batch is tried, because that would be another result; it can be set in the suite."
        )
    except KeyboardInterrupt:
        sys.exit(130)
