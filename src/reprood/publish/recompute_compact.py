"""Compute again what follows from the files of a compact release, and the compact form from its archive. No torch."""

import json
import tempfile
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.evaluate.collect import baselines_of, collect
from reprood.evaluate.table import METRICS_FILE
from reprood.publish.archive import Archive
from reprood.publish.build import describe_built
from reprood.publish.compact import uses_of, write_compact
from reprood.publish.compact_runs import RECORDS, compare_metrics, restore_run, stored_metrics
from reprood.publish.contents import METADATA, Paths
from reprood.publish.expand import collected_metrics, expanded, metrics_of_runs
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


def compact_checks(folder: Path) -> tuple[Step, ...]:
    """Return the checks of the compact form that need nothing else."""
    paths = Paths(folder)
    return (
        (CONFIGURATION, ("suite",), lambda: configuration(paths)),
        (
            "every run that a main claim compares is there, and is what it says",
            ("suite",),
            lambda: _runs(paths),
        ),
        ("metrics of stored scores follow from the predictions", ("suite", "metrics"), lambda: _metrics(paths)),
        ("the summary follows from the table of all metrics", ("suite", "metrics"), lambda: _summary(paths)),
        (MAIN, ("suite", "verdicts"), lambda: _verdicts(paths)),
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


def _verdicts(paths: Paths) -> Found:
    with expanded(paths.root) as folder:
        return verdicts(Paths(folder), main_only=True)


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
    for job in jobs:
        run = paths.run(*job)
        with tempfile.TemporaryDirectory() as temporary:
            try:
                restore_run(run, Path(temporary))
                found = stored_metrics(Path(temporary), suite.benchmarks[job[0]])
                _, texts = compare_metrics(found, stated[job], Path(temporary))
                wrong += [f"{paths.name_of(run)}: {text}" for text in texts]
            except ReproodError as error:
                wrong.append(str(error).replace(temporary, paths.name_of(run)))
    return len(jobs), wrong


def _summary(paths: Paths) -> Found:
    """Collect the stated metrics of the runs again, with what follows from several runs."""
    _, suite = paths.suite()
    with expanded(paths.root, scores=False) as folder, tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        files = [run / METRICS_FILE for *_, run in Paths(folder).all_runs(suite)]
        collect(files, out / "metrics.parquet", out / METRICS_FILE, out / "summary.json", baselines_of(suite))
        wrong = []
        if not same_numbers(collected_metrics(out), collected_metrics(paths.results)):
            wrong.append("results/metrics.parquet: the metrics of several runs differ from what the runs' give")
        if json.dumps(read_json(out / "summary.json")) != json.dumps(read_json(paths.results / "summary.json")):
            wrong.append("results/summary.json differs from the table of all metrics")
    return len(files), wrong
