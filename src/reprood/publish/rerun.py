"""Train and predict some runs of a release again, where its data and torch are present."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.core.machine import describe_machine
from reprood.evaluate.table import evaluate_run, read_metrics
from reprood.pipeline.plan import Plan
from reprood.publish.contents import SUITE, suite_record

SAME = ("versions", "device", "threads", "precision", "channels_last", "compile", "machine")
FILES = ("history.csv", "predictions.parquet")
SHOWN = ("top1_error", "auroc", "oscr", "pixel_auroc")


@dataclass(frozen=True)
class Spot:
    """A run that was made again.

    Attributes
    ----------
    name : str
        benchmark/method/seed.
    same_bits : bool
        The stated model (by its hash), history and predictions are those that came out.
    elsewhere : tuple of str
        What of this machine and software differs from the stated one; equal bits are not to be expected then.
    note : str
        The largest difference of a metric.
    """

    name: str
    same_bits: bool
    elsewhere: tuple[str, ...]
    note: str

    @property
    def holds(self) -> bool | None:
        """None: other bits on another machine or software prove nothing."""
        return True if self.same_bits else None if self.elsewhere else False

    def __str__(self) -> str:
        """One line."""
        if self.same_bits:
            return f"{self.name}: the same bits"
        why = f" (other {', '.join(self.elsewhere)} than stated)" if self.elsewhere else ""
        return f"{self.name}: other bits{why}; {self.note}"


def choose(folder: Path, count: int, chance: np.random.Generator) -> list[tuple[str, str, int]]:
    """Some runs of a release, drawn without replacement."""
    _, suite = suite_record(read_json(folder / SUITE))
    jobs = list(suite.jobs())
    return [jobs[i] for i in sorted(chance.choice(len(jobs), size=min(count, len(jobs)), replace=False))]


def spot_check(
    folder: Path, root: Path, jobs: Sequence[tuple[str, str, int]], say: Callable[[str], None] = lambda line: None
) -> list[Spot]:
    """Make runs of a release again, in a temporary folder.

    Parameters
    ----------
    folder : Path
        The release.
    root : Path
        A checkout of this package with the benchmarks' data.
    jobs : sequence of (benchmark, method, seed)
    say : callable
        Told each run as it is done.

    Raises
    ------
    ReproodError
        When torch or the data are missing, or the data are not those of the release.
    """
    name, _ = suite_record(read_json(folder / SUITE))
    suite = (folder / "config" / "suites" / f"{name}.yaml").resolve()
    plan = Plan({"suite": str(suite)}, root)
    for benchmark in dict.fromkeys(job[0] for job in jobs):
        _same_data(folder, root, suite, benchmark)
    found = []
    for job in jobs:
        found.append(_again(folder, root, plan, job))
        say(str(found[-1]))
    return found


def _same_data(folder: Path, root: Path, suite: Path, benchmark: str) -> None:
    """The release's splits are here, with the same contents."""
    for stated in sorted((folder / "data" / "benchmarks" / benchmark).glob("*/meta.json")):
        here = root / stated.relative_to(folder)
        if not here.is_file():
            raise ReproodError(
                f"{here.parent} is missing; make the data of this release first: "
                f"snakemake --cores all --until lint_benchmark --config suite={suite}"
            )
        wanted, present = (read_json(path)["content"] for path in (stated, here))
        if wanted != present:
            raise ReproodError(
                f"{here.parent} holds other data than the release: content {present[:12]}, stated {wanted[:12]}."
            )


def _again(folder: Path, root: Path, plan: Plan, job: tuple[str, str, int]) -> Spot:
    try:
        from reprood.predict.run import predict_run
        from reprood.train.run import train_run
    except ImportError as error:
        raise ReproodError(f"Making runs again needs torch ({error}); install reprood[run].") from error
    benchmark, method, seed = job
    name = f"{benchmark}/{method}/{seed}"
    stated = folder / "runs" / benchmark / method / str(seed)
    told = read_json(stated / "run.json")
    data = root / "data" / "benchmarks" / benchmark
    asked = json.loads(plan.predict_parameters(benchmark, method))
    with tempfile.TemporaryDirectory(prefix="reprood-") as temporary:
        out, state = Path(temporary) / "run", Path(temporary) / "state"
        settings = json.loads(plan.train_parameters(benchmark, method, seed))
        train_run(settings, data=data, out=out, state=state, threads=told["threads"], machine=describe_machine())
        splits = {split: data / split for split in asked["splits"]}
        predictions = out / "predictions.parquet"
        predict_run(out, splits, asked["detectors"], predictions, asked=asked, threads=told["threads"])
        here = read_json(out / "run.json")
        same = here["model"] == told["model"] and all(
            sha256_file(out / file) == sha256_file(stated / file) for file in FILES
        )
        elsewhere = tuple(key for key in SAME if here[key] != told[key])
        evaluate_run(predictions, plan.benchmark(benchmark), benchmark, method, seed, out / "metrics.csv")
        note = _largest(read_metrics(out / "metrics.csv"), read_metrics(stated / "metrics.csv"))
    return Spot(name, same, elsewhere, note)


def _largest(here: pd.DataFrame, stated: pd.DataFrame) -> str:
    """The largest difference of a metric that is shown first somewhere, in words."""
    both = here.merge(stated, on=["split", "score", "metric"], suffixes=("", "_stated"))
    both = both[both["metric"].isin(SHOWN)]
    if both.empty:
        return "no metric to compare"
    points = np.where(both["metric"].eq("top1_error"), 1.0, 100.0)
    gaps = (both["value"] - both["value_stated"]).abs() * points
    row = both.iloc[int(gaps.to_numpy().argmax())]
    return (
        f"largest difference {gaps.max():.2f} points: {row['metric']} of {row['score']} on {row['split']} is "
        f"{row['value']:.4g}, stated {row['value_stated']:.4g}"
    )
