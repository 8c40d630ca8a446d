"""The compact form of a release, for a git tree: what verdicts on main claims need; the archive holds the rest."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from reprood.audit.needs import Use, compared
from reprood.config.benchmark import Benchmark
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import write_json
from reprood.publish.archive import ARCHIVE, Archive
from reprood.publish.compact_runs import compare_metrics, restore_run, stored_metrics, write_run
from reprood.publish.contents import METADATA, SIGNATURE, SUMS, Paths
from reprood.publish.croissant import CROISSANT
from reprood.publish.expand import METRICS, collected_metrics, expand, metrics_of_runs
from reprood.publish.part import judged_papers
from reprood.publish.recompute import verdicts

LEFT_OUT = ("runs", "reports", "data")  # folders of a full release that only the archive holds as they are
TABLES = ("results/metrics.csv", "results/metrics.parquet", "results/plots.csv")  # of which one is written again
SEALS = (METADATA, SUMS, SIGNATURE, CROISSANT)
Run = tuple[str, str, int]


@dataclass(frozen=True)
class Size:
    """What the compact form of the runs came to.

    Attributes
    ----------
    runs, described : int
        Runs with predictions; runs of which only the records are stored.
    all_runs : int
        Of the full release.
    bytes : int
        Of the runs with predictions.
    unranked : tuple of str
        Runs whose scores are stored as they are, because ranks would change a metric or a verdict.
    """

    runs: int
    described: int
    all_runs: int
    bytes: int
    unranked: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the log."""
        mean = self.bytes / self.runs / 1e3 if self.runs else 0.0
        kept = f"; scores of {len(self.unranked)} runs as they are: {', '.join(self.unranked)}" if self.unranked else ""
        return (
            f"{self.runs} of {self.all_runs} runs with predictions ({mean:.1f} kB each), {self.described} with their "
            f"records only{kept}"
        )


def uses_of(paths: Paths, suite: Suite) -> dict[Run, Use]:
    """Return what main claims use of each run that they read, in the order of the suite."""
    uses = compared(judged_papers(paths, suite), suite)
    read = ((job, uses.get((suite.benchmarks[job[0]].family or job[0], *job[1:]))) for job in suite.jobs())
    return {job: use for job, use in read if use is not None}


def write_compact(full: Path, out: Path, archive: Archive) -> Size:
    """Write the compact form of a full release, without description, checksums and signature.

    Scores are stored as ranks where every metric and verdict stays what it is (`reprood.publish.compact_runs`).

    Parameters
    ----------
    full : Path
        The folder of the full release.
    out : Path
        A new folder.
    archive : Archive
        The archive of the full release.

    Raises
    ------
    ReproodError
        When a file of the full release is missing or damaged, or verdicts on main claims do not follow from its runs.
    """
    shutil.rmtree(out, ignore_errors=True)
    for path in sorted(full.rglob("*")):
        name = path.relative_to(full)
        if path.is_file() and name.parts[0] not in LEFT_OUT and name.as_posix() not in (*TABLES, *SEALS):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / name)
    write_json(out / ARCHIVE, archive.model_dump())
    _write_metrics(full, out)
    for ranked in (True, False):
        size, wrong = _write_runs(full, out, ranked=ranked), _wrong_verdicts(out)
        if not wrong:
            return size
    raise ReproodError(f"The verdicts of the release do not follow from its runs ({wrong[0]}); run the workflow again.")


def _write_metrics(full: Path, out: Path) -> None:
    """Write the metrics of all runs, compressed."""
    table = pq.read_table(full / "results" / METRICS)
    pq.write_table(table, out / "results" / METRICS, compression="zstd", compression_level=19)


def _write_runs(full: Path, out: Path, *, ranked: bool) -> Size:
    """Write all runs that main claims read, with ranks for scores if wanted."""
    _, suite = Paths(full).suite()
    uses, metrics = uses_of(Paths(full), suite), metrics_of_runs(collected_metrics(full / "results"))
    total, unranked = 0, list[str]()
    for job, use in uses.items():
        source, target, record = Paths(full).run(*job), Paths(out).packed_run(*job), suite.benchmarks[job[0]]
        if not use.metrics:
            write_run(source, target, use, record)
        elif not _write_checked(source, target, use, record, metrics[job], ranked=ranked):
            unranked.append("/".join(map(str, job)))
        total += target.stat().st_size if use.metrics else 0
    count = sum(bool(use.metrics) for use in uses.values())
    return Size(
        runs=count,
        described=len(uses) - count,
        all_runs=len(list(suite.jobs())),
        bytes=total,
        unranked=tuple(unranked),
    )


def _write_checked(
    source: Path, target: Path, use: Use, benchmark: Benchmark, stated: pd.DataFrame, *, ranked: bool
) -> bool:
    """Write a run and check that its metrics can be recomputed from it; return whether scores are ranks."""
    wrong: list[str] = []
    for with_ranks in (True, False) if ranked else (False,):
        write_run(source, target, use, benchmark, ranked=with_ranks)
        with tempfile.TemporaryDirectory() as temporary:
            run = Path(temporary)
            restore_run(target, run)
            wrong = compare_metrics(stored_metrics(run, benchmark), stated, run)
        if not wrong:
            return with_ranks or not use.scores
    raise ReproodError(f"{source}: {wrong[0]}; the metrics do not follow from the predictions: run the workflow again.")


def _wrong_verdicts(out: Path) -> list[str]:
    """Return which verdicts do not follow from the compact form as stated."""
    with tempfile.TemporaryDirectory(prefix="reprood-") as temporary:
        expand(out, Path(temporary))
        return verdicts(Paths(Path(temporary)), main_only=True)[1]
