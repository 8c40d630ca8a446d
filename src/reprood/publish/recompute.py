"""Compute the parts of a release again, each from what it follows from, and say what differs. No torch."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.audit.verdicts import audit
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.core.yaml import read_yaml
from reprood.evaluate.collect import baselines_of, collect
from reprood.evaluate.outputs import has_logits
from reprood.evaluate.predictions import SCORES
from reprood.evaluate.table import evaluate_run, read_metrics
from reprood.publish.compact_runs import compare_metrics, stored_metrics
from reprood.publish.contents import CODE, SUITE, Paths, places_of
from reprood.publish.numbers import TOLERANCE, same_numbers
from reprood.publish.own import with_stored
from reprood.publish.part import judged_papers, stated_suite
from reprood.publish.rescore import wrong_scores
from reprood.report.contents import TABLE_FORMS, tables_of
from reprood.report.pages import Identity, write_report
from reprood.report.results import BenchmarkResults
from reprood.report.tables import write_table

Found = tuple[int | None, list[str]]  # how many things were looked at, and what is wrong
Step = tuple[str, tuple[str, ...], Callable[[], Found]]  # a check's name, the parts of the code it depends on, itself


class NotChecked(ReproodError):
    """A check could not be made of everything, and what was looked at holds."""


CONFIGURATION = "configuration is the one of the suite's file"
VERDICTS = "verdicts follow from the predictions"


def full_checks(folder: Path) -> tuple[Step, ...]:
    """Return the checks of a full release."""
    paths = Paths(folder)
    return (
        (CONFIGURATION, ("suite",), lambda: configuration(paths)),
        ("every run is there, and is the run that it says", ("suite",), lambda: runs(paths)),
        ("scores of detectors follow from the logits", ("suite", "scores"), lambda: scores(paths)),
        ("metrics follow from the predictions", ("suite", "metrics"), lambda: metrics(paths)),
        ("the table of all metrics follows from the runs'", ("suite", "metrics"), lambda: collected(paths)),
        (VERDICTS, ("suite", "verdicts"), lambda: verdicts(paths)),
        ("tables follow from the results", ("suite", "tables"), lambda: tables(paths)),
        ("pages follow from the results", ("suite", "pages", "templates"), lambda: pages(paths)),
    )


def configuration(paths: Paths) -> Found:
    """Compare the suite's record with the one that the suite's file and the stored selection give."""
    _, suite = paths.suite()
    stated = stated_suite(paths).model_dump(mode="json", exclude={"settings", "replicates"})
    held = suite.model_dump(mode="json", exclude={"settings"})
    wrong = [f"{SUITE} and the suite's file differ in '{key}'" for key in stated if stated[key] != held[key]]
    settings = read_yaml(paths.root / "config" / "config.yaml") or {}
    if not isinstance(settings, dict):
        wrong.append("config/config.yaml is not a mapping")
    return len(stated), wrong


def runs(paths: Paths) -> Found:
    """Look for every run of the suite, and for runs that are not of it, twice or of another name."""
    _, suite = paths.suite()
    return runs_of(paths, suite, suite.jobs())


def runs_of(paths: Paths, suite: Suite, jobs: Iterable[tuple[str, str, int]]) -> Found:
    """Look for some runs of the suite, and for others, runs that are there twice or have another name."""
    wrong, wanted = [], set()
    digests: dict[str, str] = {}
    for benchmark, method, seed in jobs:
        name, run = f"{benchmark}/{method}/{seed}", paths.run(benchmark, method, seed)
        wanted.add(run)
        if not (run / "predictions.parquet").is_file():
            wrong.append(f"the run {name} is missing")
            continue
        wrong += _named(run, name, suite.methods[method].use)
        digest = sha256_file(run / "predictions.parquet")
        if digest in digests:
            wrong.append(f"runs/{name} and runs/{digests[digest]} have the same predictions")
        digests[digest] = name
    more = {path.parent for path in paths.runs.rglob("predictions.parquet")} - wanted
    wrong += [f"{paths.name_of(path)} is not a run of the suite" for path in sorted(more)]
    return len(wanted), wrong


def _named(run: Path, name: str, use: str) -> list[str]:
    """Return how the record of a run's model differs from what it should be of."""
    model = read_json(run / "model.json")
    stated = "/".join(str(model[key]) for key in ("benchmark", "method", "seed"))
    wrong = [f"runs/{name}/model.json is of the run {stated}"] if stated != name else []
    made = f"runs/{name} was made by the method {model['use']}, the suite says {use}"
    return [*wrong, made] if model["use"] != use else wrong


def scores(paths: Paths) -> Found:
    """Compute the scores of detectors that read logits again.

    Raises
    ------
    NotChecked
        When nothing is wrong, and some runs were taken over from a compact release, without logits.
    """
    suite = with_stored(paths.suite()[1], paths.root)
    wrong, count, without = [], 0, 0
    for benchmark, _, _, run in paths.all_runs(suite):
        try:
            if not has_logits(run):
                without += 1
                continue
            count += 1
            found = wrong_scores(run, suite.benchmarks[benchmark])
            wrong += [f"{paths.name_of(run / SCORES)}: {text}" for text in found]
        except ReproodError as error:
            wrong.append(str(error).replace(f"{paths.root}/", ""))
    if without and not wrong:
        raise NotChecked(
            f"{count} runs hold; {without} store no logits, because they were taken over from a compact release: see "
            "the archive that it names"
        )
    return count, wrong


def metrics(paths: Paths) -> Found:
    """Compute the metrics of every run again from its predictions and scores.

    Raises
    ------
    NotChecked
        When nothing is wrong, and some runs were taken over from a compact release, without some scores.
    """
    _, suite = paths.suite()
    wrong, count, taken = list[str](), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for benchmark, method, seed, run in paths.all_runs(suite):
            count += 1
            out = Path(temporary) / "metrics.csv"
            try:
                if not has_logits(run):
                    taken += 1
                    found = stored_metrics(run, suite.benchmarks[benchmark])
                    texts = compare_metrics(found, read_metrics(run / "metrics.csv"), run)
                    wrong += [f"{paths.name_of(run)}: {text}" for text in texts]
                    continue
                evaluate_run(run, suite.benchmarks[benchmark], benchmark, method, seed, out, run)
                computed, stated = (_ordered(read_metrics(path)) for path in (out, run / "metrics.csv"))
                if not same_numbers(computed, stated):
                    wrong.append(_first_difference(computed, stated, paths.name_of(run / "metrics.csv")))
            except ReproodError as error:
                wrong.append(str(error).replace(f"{paths.root}/", ""))
    if taken and not wrong:
        raise NotChecked(
            f"{count - taken} runs hold, and of {taken} that were taken over from a compact release the metrics of "
            "stored scores; for the others see the archive that it names"
        )
    return count, wrong


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return a run's metrics in one order: the rows' own follows the benchmark's record, which has several forms."""
    return table.sort_values(["split", "score", "metric"], ignore_index=True)


def _first_difference(computed: pd.DataFrame, stated: pd.DataFrame, where: str) -> str:
    key = ["split", "score", "metric"]
    both = computed.merge(stated, on=key, how="outer", suffixes=("", "_stated"))
    gap = ~np.isclose(both["value"], both["value_stated"], rtol=TOLERANCE, atol=1e-12, equal_nan=True)
    if not gap.any():
        return f"{where} has other rows than the predictions give"
    row = both[gap].iloc[0]
    return (
        f"{where}: {row['metric']} of {row['score']} on {row['split']} is stated as {row['value_stated']:.6g} and "
        f"computed as {row['value']:.6g} ({int(gap.sum())} values differ)"
    )


def collected(paths: Paths) -> Found:
    """Collect the metrics of all runs again."""
    _, suite = paths.suite()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        files = [run / "metrics.csv" for *_, run in paths.all_runs(suite)]
        collect(files, out / "metrics.parquet", out / "metrics.csv", out / "summary.json", baselines_of(suite))
        wrong = []
        if not same_numbers(read_metrics(out / "metrics.csv"), read_metrics(paths.results / "metrics.csv")):
            wrong.append("results/metrics.csv differs from the runs' metrics")
        if not same_numbers(
            pd.read_parquet(out / "metrics.parquet"), pd.read_parquet(paths.results / "metrics.parquet")
        ):
            wrong.append("results/metrics.parquet differs from the runs' metrics")
        if json.dumps(read_json(out / "summary.json")) != json.dumps(read_json(paths.results / "summary.json")):
            wrong.append("results/summary.json differs from the runs' metrics")
    return len(files), wrong


def verdicts(paths: Paths, *, main_only: bool = False) -> Found:
    """Judge all claims again, or the main ones alone."""
    _, suite = paths.suite()
    papers = judged_papers(paths, suite)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "verdicts.csv"
        audit(suite, papers, paths.root, paths.studies, out, main_only=main_only)
        computed, stated = pd.read_csv(out), pd.read_csv(paths.verdicts)
    if main_only:
        exploratory = {(paper.id, claim.id) for paper in papers for claim in paper.claims if claim.exploratory}
        names = zip(stated["paper"], stated["claim"], strict=True)
        stated = stated[[name not in exploratory for name in names]].reset_index(drop=True)
    if list(computed.columns) != list(stated.columns):
        return len(stated), [
            "results/verdicts.csv has other columns than this version writes; verify it with the release's own code"
        ]
    key = ["paper", "claim", "benchmark"]
    if len(computed) != len(stated) or not computed[key].astype(str).equals(stated[key].astype(str)):
        return len(stated), ["results/verdicts.csv has other claims than the papers' files and the runs give"]
    wrong = []
    for (_, a), (_, b) in zip(computed.iterrows(), stated.iterrows(), strict=True):
        other = [name for name in computed.columns if not _close(a[name], b[name])]
        if other:
            what = ", ".join(f"{name} is stated as {b[name]} and computed as {a[name]}" for name in other[:2])
            wrong.append(f"{a['paper']}/{a['claim']} on {a['benchmark']}: {what}")
    return len(stated), wrong


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return bool(np.isclose(a, b, rtol=1e-7, atol=1e-9, equal_nan=True))
    return str(a) == str(b)


def tables(paths: Paths) -> Found:
    """Write all tables again."""
    _, suite = paths.suite()
    wrong, count = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in places_of(suite):
            results = BenchmarkResults(name, suite, paths.root)
            for kind in tables_of(suite.record(name)):
                write_table(kind, results, Path(temporary, name, kind))  # the folder's name is part of LaTeX labels
                for form in TABLE_FORMS:
                    count += 1
                    stated = paths.reports / "tables" / name / f"{kind}{form}"
                    if (
                        not stated.is_file()
                        or stated.read_bytes() != Path(temporary, name, f"{kind}{form}").read_bytes()
                    ):
                        wrong.append(f"{paths.name_of(stated)} is not what the results give")
    return count, wrong


def pages(paths: Paths) -> Found:
    """Write all pages again."""
    _, suite = paths.suite()
    code = read_json(paths.root / CODE)
    identity = Identity(*(str(code.get(key, "")) for key in ("release", "date", "revision")))
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        names = write_report(
            suite,
            judged_papers(paths, suite),
            paths.verdicts,
            root=paths.root,
            studies=paths.studies,
            data=paths.root / "data",
            figures=paths.reports / "figures",
            defects=paths.defects,
            datasets=paths.datasets,
            out=out,
            identity=identity,
        )
        return len(names), [
            f"reports/{name} is not what the results give"
            for name in names
            if not (paths.reports / name).is_file() or (paths.reports / name).read_bytes() != (out / name).read_bytes()
        ]
