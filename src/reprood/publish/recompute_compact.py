"""Compute again what follows from the files of a compact release, and the compact form from its archive. No torch."""

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.evaluate.collect import baselines_of, relative_corruption_errors, summarise
from reprood.evaluate.table import COLUMNS, TYPES
from reprood.publish.archive import Archive
from reprood.publish.build import describe_built
from reprood.publish.compact import uses_of, write_compact
from reprood.publish.compact_runs import RECORDS, compare_metrics, stored_metrics
from reprood.publish.contents import METADATA, Paths
from reprood.publish.expand import COLLECTED, collected_metrics, expanded, metrics_of_runs
from reprood.publish.numbers import same_numbers
from reprood.publish.recompute import CONFIGURATION, Found, Step, configuration, runs_of, verdicts
from reprood.publish.seal import sums_of

ARCHIVED = (
    "scores of detectors follow from the logits",
    "metrics of scores and runs that are not stored here",
    "verdicts on exploratory claims",
    "tables follow from the results",
    "pages follow from the results",
)  # what only the archive can show
MAIN = "verdicts on main claims follow from the predictions"


@contextmanager
def compact_checks(folder: Path) -> Iterator[tuple[Step, ...]]:
    """Yield the checks that need only the compact release; its runs are restored once and shared by all checks."""
    paths = Paths(folder)
    with ExitStack() as stack:

        @cache
        def whole() -> Paths:
            return Paths(stack.enter_context(expanded(folder)))

        yield (
            (CONFIGURATION, ("suite",), lambda: configuration(paths)),
            (
                "every run that a main claim compares is there, and is what it says",
                ("suite",),
                lambda: _runs(whole()),
            ),
            ("metrics of stored scores follow from the predictions", ("suite", "metrics"), lambda: _metrics(whole())),
            ("the summary follows from the table of all metrics", ("suite", "metrics"), lambda: _summary(whole())),
            (MAIN, ("suite", "verdicts"), lambda: verdicts(whole(), main_only=True)),
        )


def compact_of(full: Path, folder: Path, archive: Archive) -> Found:
    """Write the compact form of the full release again, and compare every file."""
    with tempfile.TemporaryDirectory(prefix="reprood-") as temporary:
        again = Path(temporary) / "compact"
        write_compact(full, again, archive)
        describe_built(again)
        computed, stated = sums_of(again), sums_of(folder)
    other = sorted(name for name in computed if stated.get(name, computed[name]) != computed[name])
    wrong = [f"{name} is not what the archive gives" for name in other if name != METADATA or len(other) == 1]
    wrong += [f"{name} is missing" for name in computed if name not in stated]
    wrong += [f"{name} does not follow from the archive" for name in stated if name not in computed]
    return len(computed), wrong


def _runs(paths: Paths) -> Found:
    _, suite = paths.suite()
    uses = uses_of(paths, suite)
    count, wrong = runs_of(paths, suite, [job for job, use in uses.items() if use.metrics])
    records = [paths.run(*job) / name for job in uses for name in RECORDS]
    return count, wrong + [f"{paths.name_of(path)} is missing" for path in records if not path.is_file()]


def _metrics(paths: Paths) -> Found:
    _, suite = paths.suite()
    stated = metrics_of_runs(collected_metrics(paths.results))
    wrong = ["/".join(map(str, job)) + " has no metrics" for job in suite.jobs() if job not in stated]
    wrong += [
        f"{'/'.join(map(str, job))} has metrics, and is no run of the suite" for job in {*stated} - {*suite.jobs()}
    ]
    jobs = [job for job, use in uses_of(paths, suite).items() if use.metrics and job in stated]
    runs = [paths.run(*job) for job in jobs]
    benchmarks, tables = [suite.benchmarks[job[0]] for job in jobs], [stated[job] for job in jobs]
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), get_context("spawn")) as pool:
        found = pool.map(_metrics_of, runs, benchmarks, tables, repeat(paths.root), chunksize=50)
        wrong += [text for texts in found for text in texts]
    return len(jobs), wrong


def _metrics_of(run: Path, benchmark: Benchmark, stated: pd.DataFrame, root: Path) -> list[str]:
    """Return what differs between the stated metrics of a run and those that its predictions give."""
    try:
        texts = compare_metrics(stored_metrics(run, benchmark), stated, run)
        return [f"{run.relative_to(root).as_posix()}: {text}" for text in texts]
    except ReproodError as error:
        return [str(error).replace(f"{root}/", "")]


def _summary(paths: Paths) -> Found:
    """Compute what follows from the stated metrics of several runs."""
    _, suite = paths.suite()
    table = collected_metrics(paths.results)
    own, several = (table[mask] for mask in (table["metric"] != COLLECTED, table["metric"] == COLLECTED))
    key = [name for name in COLUMNS if name not in ("value", "n", "n_ood")]
    wrong = [f"the metric {tuple(row)} is stated twice" for row in table.loc[table.duplicated(key), key].to_numpy()]
    computed = relative_corruption_errors(own, baselines_of(suite)).astype(TYPES)
    if not same_numbers(*(one.sort_values(key, ignore_index=True) for one in (computed, several))):
        wrong.append("results/metrics.parquet: the metrics of several runs differ from what the runs' give")
    stated = read_json(paths.results / "summary.json")
    if json.dumps(summarise(table), sort_keys=True) != json.dumps(stated, sort_keys=True):
        wrong.append("results/summary.json differs from the table of all metrics")
    return len(list(suite.jobs())), wrong
