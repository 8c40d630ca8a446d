"""Commands that the workflow runs and that need torch: train, predict, study, examples."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from reprood.cli.options import Device, Out, Threads, parse_record, validated
from reprood.cli.progress import ImageLog
from reprood.cli.trackers import tracker
from reprood.core.checksums import checked_job
from reprood.core.files import read_json
from reprood.core.process import CHECKPOINT_SECONDS, STOPPED, TRACKER, pin_threads
from reprood.pipeline.outputs import (
    MODEL_FILES,
    PREDICTED_FILES,
    STUDY_FILES,
    of_runs,
    of_splits,
    resume_key,
    within,
)

ShareGpu = Annotated[bool, typer.Option("--share-gpu", help="Do not wait until the GPU is free of other jobs.")]


def _gpu(device: str, share: bool) -> AbstractContextManager[str | None]:
    """Hold one GPU for a job, unless it may share the visible one with others."""
    from reprood.core.gpus import one_gpu

    return nullcontext() if share else one_gpu(device)


@contextmanager
def _sigterm_recorded() -> Iterator[Callable[[], bool]]:
    """Give a function that returns whether SIGTERM was received; a second SIGTERM ends the process at once."""
    received = []

    def record(number: int, _: object) -> None:
        received.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, record)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


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
    track: Annotated[str, typer.Option("--tracker", envvar=TRACKER, help="dvclive or mlflow: gets every epoch.")] = "",
) -> None:
    """Train one run (benchmark, method, seed), or resume it from its last checkpoint.

    On SIGTERM the training writes a checkpoint and exits with status 75.

    Example: snakemake -n -p --until train (prints the commands of all trainings that would run)
    """
    pin_threads(threads)
    from reprood.core.machine import describe_machine
    from reprood.core.progress import TrainingProgress

    record = parse_record(settings, "--settings", "benchmark", "method", "seed")
    name = "/".join(out.parts[-3:])
    reads = of_splits(data, ("train", "validation", "test", *record.get("auxiliary", ())))
    writes = within(out, MODEL_FILES) if not data_parallel or os.environ.get("RANK", "0") == "0" else []
    heartbeat = Path("logs/heartbeat") / f"{name.replace('/', '.')}.json" if writes else None
    with (
        checked_job(reads, writes),
        _gpu(device, share_gpu),
        tracker(track if writes else "", name, record.get("settings", {})) as on_epoch,
        TrainingProgress(heartbeat, on_epoch=on_epoch) as progress,
    ):
        from reprood.data.image_index import holds_index
        from reprood.engine.run import Stopped

        if holds_index(read_json(data / "train" / "meta.json")):
            from reprood.train.streamed import train_streamed_run as train_run
        else:
            from reprood.train.run import train_run

        try:
            with _sigterm_recorded() as stop:
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


def predict(
    settings: Annotated[str, typer.Option(help="Splits and requested outputs as JSON.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    run: Annotated[Path, typer.Option(help="Folder of the trained run.")],
    out: Out,
    threads: Threads = 1,
    device: Device = "auto",
    share_gpu: ShareGpu = False,
) -> None:
    """Run a trained model on all test splits; write predictions.parquet and features.safetensors.

    Example: snakemake -n -p --until predict (prints the commands of all predictions that would run)
    """
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


def adopt(
    settings: Annotated[str, typer.Option(help="Where the outputs are and what they must hold, as JSON.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    run: Annotated[Path, typer.Option(help="Folder for model.json, history.csv and run.json.")],
    out: Out,
    code: Annotated[str, typer.Option(help="Fingerprint of the code; recorded.")] = "",
) -> None:
    """Check outputs or weights of a training elsewhere (`use: external`), and write them as those of a run.

    Example: snakemake -n -p | grep 'reprood adopt'
    """
    pin_threads(1)
    from reprood.predict.external import adopt as adopt_outputs

    record = parse_record(settings, "--settings", "benchmark", "method", "seed", "external", "splits")
    reads = of_splits(data, dict.fromkeys(["train", *record["splits"]]))
    if record["external"].get("weights"):
        with checked_job(reads, within(run, MODEL_FILES)):
            from reprood.train.given import take_over

            take_over(record, data, run, code)
        return
    with checked_job(reads, [*within(run, MODEL_FILES[1:]), *within(out, PREDICTED_FILES)]):
        adopt_outputs(record, data, run, out, code)


def study(
    settings: Annotated[str, typer.Option(help="The study's settings as JSON.")],
    out: Out,
    code: Annotated[str, typer.Option(help="Fingerprint of the code; keys the resume state.")] = "",
    data: Annotated[Path, typer.Option(help="Folder of the benchmarks' splits.")] = Path("data/benchmarks"),
    root: Annotated[Path, typer.Option(help="The checkout, with the runs.")] = Path(),
    threads: Threads = 1,
    device: Device = "auto",
) -> None:
    """Run a study: an analysis that is not a benchmark (a toy problem, a mechanism, a timing).

    Example: snakemake -n -p --until study (prints the commands of all studies that would run)
    """
    pin_threads(threads)
    from reprood.config.folders import Folders

    keys = ("name", "use", "set", "seeds", "benchmarks", "methods", "suite_seed", "folders")
    record = parse_record(settings, "--settings", *keys)
    places = list(zip(record["benchmarks"], record["seeds"], strict=False))
    jobs = [(benchmark, method, seed) for method in record["methods"] for benchmark, seed in places]
    folders = validated(Folders, record["folders"], "--settings: folders")
    reads = of_runs(root, folders, jobs, *MODEL_FILES[:2])
    splits = ("train", "validation", "test", *record["auxiliary"])
    for benchmark in dict.fromkeys(record["benchmarks"] if record.get("data", True) else ()):
        reads += of_splits(data / folders.trained(benchmark), splits)
    with checked_job(reads, within(out, STUDY_FILES)), _gpu(device, share=False):
        from reprood.studies.run import run_study

        state = Path("state/study") / record["name"] / resume_key(settings, code)
        run_study(record, data=data, root=root, out=out, state=state, device=device, threads=threads)


def examples(
    settings: Annotated[str, typer.Option(help="Training records by method, as JSON.")],
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    out: Out,
) -> None:
    """Apply each method's augmentation to the same training images, for a figure of the report.

    Example: snakemake -n -p --until examples
    """
    pin_threads(1)
    from reprood.train.examples import draw_examples

    records = parse_record(settings, "--settings")
    auxiliary = {split for record in records.values() for split in record["auxiliary"]}
    with checked_job(of_splits(data, ("train", *sorted(auxiliary))), [out]):
        draw_examples(records, data, out)
