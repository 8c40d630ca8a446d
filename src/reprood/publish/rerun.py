"""Train and predict a sample of a release's runs again, where its data and torch are present."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.config.external import EXTERNAL
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.core.machine import describe_machine
from reprood.evaluate.table import read_metrics
from reprood.pipeline.plan import Plan
from reprood.publish.archive import read_archive
from reprood.publish.contents import Paths

SAME = ("versions", "device", "threads", "precision", "channels_last", "compile", "machine")
FILES = ("history.csv", "predictions.parquet")
SHOWN = ("top1_error", "auroc", "oscr", "pixel_auroc")


@dataclass(frozen=True)
class Rerun:
    """A run that was trained and predicted again.

    Attributes
    ----------
    name : str
        benchmark/method/seed.
    same_bits : bool
        Model (by its hash), history and predictions are the same as in the release.
    elsewhere : tuple of str
        What differs between this machine and software and the recorded ones; equal bits are then not expected.
    note : str
        The largest difference of a metric.
    """

    name: str
    same_bits: bool
    elsewhere: tuple[str, ...]
    note: str

    @property
    def holds(self) -> bool | None:
        """Return whether the run is as published; None: other bits on another machine or software prove nothing."""
        return True if self.same_bits else None if self.elsewhere else False

    def __str__(self) -> str:
        """Return one line."""
        if self.same_bits:
            return f"{self.name}: the same bits"
        why = f" (other {', '.join(self.elsewhere)} than recorded)" if self.elsewhere else ""
        return f"{self.name}: other bits{why}; {self.note}"


def sample_runs(folder: Path, count: int, generator: np.random.Generator) -> list[tuple[str, str, int]]:
    """Draw runs (benchmark, method, seed) of a release without replacement."""
    archive = read_archive(folder)
    if archive is not None:
        raise ReproodError(f"{folder} is a compact release without logits; give its archive {archive.name} instead.")
    _, suite = Paths(folder).suite()
    jobs = [job for job in suite.jobs() if suite.methods[job[1]].use != EXTERNAL]
    if not jobs:
        raise ReproodError(f"{folder} holds no run that was trained here, so that none can be trained again.")
    return [jobs[i] for i in sorted(generator.choice(len(jobs), size=min(count, len(jobs)), replace=False))]


def rerun(
    folder: Path,
    root: Path,
    jobs: Sequence[tuple[str, str, int]],
    log: Callable[[str], None] = lambda line: None,
    *,
    datasets: Mapping[str, Any] | None = None,
) -> list[Rerun]:
    """Train and predict runs of a release again, in a temporary folder, and compare.

    Parameters
    ----------
    folder : Path
        The release.
    root : Path
        A checkout of this package with the benchmarks' data.
    jobs : sequence of (benchmark, method, seed)
        The runs.
    log : callable
        Called with the text of each run when it is done.
    datasets : mapping, optional
        The user's own entries of the catalogue.

    Raises
    ------
    ReproodError
        When torch or the data are missing, or the data are not those of the release.
    """
    paths = Paths(folder)
    name, record = paths.suite()
    suite = paths.suite_file(name).resolve()
    plan = Plan({"suite": str(suite), "datasets": datasets or {}}, root, record.replicates)
    for benchmark in dict.fromkeys(job[0] for job in jobs):
        _require_same_data(folder, root / plan.data_folder(benchmark), suite, benchmark)
    reruns = []
    for job in jobs:
        reruns.append(_rerun_one(folder, root, plan, job))
        log(str(reruns[-1]))
    return reruns


def _require_same_data(folder: Path, data: Path, suite: Path, benchmark: str) -> None:
    """Raise ReproodError unless the release's splits are in the checkout, with the same contents."""
    for stated in sorted(Paths(folder).benchmark(benchmark).glob("*/meta.json")):
        here = data / stated.parent.name / stated.name
        if not here.is_file():
            raise ReproodError(
                f"{here.parent} is missing; build the data of this release first: "
                f"snakemake --cores all --until lint_benchmark --config suite={suite}"
            )
        wanted, present = (read_json(path)["content"] for path in (stated, here))
        if wanted != present:
            raise ReproodError(
                f"{here.parent} holds other data than the release: content {present[:12]}, expected {wanted[:12]}."
            )


def _rerun_one(folder: Path, root: Path, plan: Plan, job: tuple[str, str, int]) -> Rerun:
    try:
        from reprood.evaluate.run import evaluate_outputs
        from reprood.predict.run import predict_run
        from reprood.train.run import train_run
        from reprood.train.streamed import train_streamed_run
    except ImportError as error:
        raise ReproodError(f"Running trainings again needs torch ({error}); install reprood[run].") from error
    benchmark, method, seed = job
    name = f"{benchmark}/{method}/{seed}"
    stated = Paths(folder).run(benchmark, method, seed)
    record = read_json(stated / "run.json")
    data = root / plan.data_folder(benchmark)
    requested = json.loads(plan.predict_parameters(benchmark, method))
    with tempfile.TemporaryDirectory(prefix="reprood-") as temporary:
        out, state = Path(temporary) / "run", Path(temporary) / "state"
        settings = json.loads(plan.train_parameters(benchmark, method, seed))
        train = train_streamed_run if plan.streams(benchmark) else train_run
        train(settings, data=data, out=out, state=state, threads=record["threads"], machine=describe_machine())
        splits = {split: data / split for split in requested["splits"]}
        predict_run(out, splits, out, requests=requested, threads=record["threads"])
        here = read_json(out / "run.json")
        same = here["model"] == record["model"] and all(
            sha256_file(out / file) == sha256_file(stated / file) for file in FILES
        )
        elsewhere = tuple(key for key in SAME if here[key] != record[key])
        evaluate_outputs(out, plan.benchmark(benchmark), benchmark, method, seed)
        note = _largest(read_metrics(out / "metrics.csv"), read_metrics(stated / "metrics.csv"))
    return Rerun(name, same, elsewhere, note)


def _largest(here: pd.DataFrame, stated: pd.DataFrame) -> str:
    """Return the largest difference of a leading metric, in words."""
    both = here.merge(stated, on=["split", "score", "metric"], suffixes=("", "_stated"))
    both = both[both["metric"].isin(SHOWN)]
    if both.empty:
        return "no metric to compare"
    points = np.where(both["metric"].eq("top1_error"), 1.0, 100.0)
    gaps = (both["value"] - both["value_stated"]).abs() * points
    row = both.iloc[int(gaps.to_numpy().argmax())]
    return (
        f"largest difference {gaps.max():.2f} points: {row['metric']} of {row['score']} on {row['split']} is "
        f"{row['value']:.4g}, published {row['value_stated']:.4g}"
    )
