"""Check a published release without trusting who made it: no torch, no GPU, no network, no data.

Hashes and signature are checked, then every metric is computed anew from the stored predictions, every verdict from
these, every table and page from those, and compared with what the release states.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pyarrow as pa

from reprood.audit.papers import Paper, load_papers
from reprood.audit.verdicts import audit
from reprood.config.suite import Suite, load_suite
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.core.printable import printable
from reprood.core.yaml import read_yaml
from reprood.evaluate.collect import collect
from reprood.evaluate.table import evaluate_run, read_metrics
from reprood.publish.contents import CODE, METADATA, SUITE, suite_record, written_by
from reprood.publish.seal import check_signature, differences, read_sums, sums_of
from reprood.publish.unpack import opened
from reprood.report.contents import TABLE_FORMS, tables_of
from reprood.report.pages import write_report
from reprood.report.results import BenchmarkResults
from reprood.report.tables import write_table

# What reading a release may raise, whatever it holds; such a check does not hold.
UNREADABLE = (
    ReproodError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    MemoryError, AssertionError, pa.ArrowException, jinja2.TemplateError,
)  # fmt: skip
SHOWN = 8  # findings of a check that are spelled out
TOLERANCE = 1e-9  # relative; metrics computed on another machine may differ in the last bits


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    holds : bool or None
        None: nothing to check.
    found : tuple of str
        What is wrong, or what there is to say.
    """

    name: str
    holds: bool | None
    found: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line, and one for each finding."""
        mark = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}[self.holds]
        more = len(self.found) - SHOWN
        lines = [f"{mark:>13}  {self.name}", *(f"{'':>15}{printable(text)}" for text in self.found[:SHOWN])]
        return "\n".join([*lines, f"{'':>15}and {more} more"] if more > 0 else lines)


def verify(path: Path, signers: Path | None = None, say: Callable[[str], None] = lambda line: None) -> list[Check]:
    """Check a release; what cannot even be read counts as not holding.

    Parameters
    ----------
    path : Path
        Its folder or zip archive.
    signers : Path, optional
        An `allowed_signers` file (ssh-keygen(1)) of those whose signature is trusted.
    say : callable
        Told each check as it is done.
    """
    checks: list[Check] = []
    with opened(path) as folder:
        steps: tuple[tuple[str, Callable[[], Check]], ...] = (
            ("files are those that were listed", lambda: _files(folder)),
            ("signature", lambda: _signature(folder, signers)),
            ("configuration is the one of the suite's file", lambda: _configuration(folder)),
            ("description lists the files", lambda: _description(folder)),
            ("every run is there, and is the run that it says", lambda: _runs(folder)),
            ("metrics follow from the predictions", lambda: _metrics(folder)),
            ("the table of all metrics follows from the runs'", lambda: _collected(folder)),
            ("verdicts follow from the predictions", lambda: _verdicts(folder)),
            ("tables follow from the results", lambda: _tables(folder)),
            ("pages follow from the results", lambda: _pages(folder)),
        )
        for name, step in steps:
            try:
                check = step()
            except UNREADABLE as error:
                what = str(error) if isinstance(error, ReproodError) else f"{type(error).__name__}: {error}"
                check = Check("", False, (what,))
            checks.append(Check(name, check.holds, check.found))
            say(str(checks[-1]))
    return checks


# --- the checks ---


def _suite(folder: Path) -> tuple[str, Suite]:
    return suite_record(read_json(folder / SUITE))


def _papers(folder: Path) -> list[Paper]:
    return list(load_papers(sorted((folder / "config" / "papers").glob("*.yaml"))))


def _files(folder: Path) -> Check:
    wrong = differences(read_sums(folder), sums_of(folder))
    return Check("", not wrong, tuple(wrong))


def _signature(folder: Path, signers: Path | None) -> Check:
    holds, text = check_signature(folder, signers)
    return Check("", holds, (text,))


def _configuration(folder: Path) -> Check:
    name, suite = _suite(folder)
    path = folder / "config" / "suites" / f"{name}.yaml"
    if not path.is_file():
        return Check("", False, (f"{path.relative_to(folder)} is missing",))
    stated = load_suite(str(path), folder).model_dump(mode="json", exclude={"settings"})
    held = suite.model_dump(mode="json", exclude={"settings"})
    wrong = [f"{SUITE} and the suite's file differ in '{key}'" for key in stated if stated[key] != held[key]]
    settings = read_yaml(folder / "config" / "config.yaml") or {}
    if not isinstance(settings, dict):
        wrong.append("config/config.yaml is no mapping")
    return Check("", not wrong, tuple(wrong))


def _description(folder: Path) -> Check:
    graph = read_json(folder / METADATA)["@graph"]
    told = {entity["@id"]: entity for entity in graph}
    parts = [part["@id"] for part in told["./"]["hasPart"]]
    outside = [name for name in parts if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        return Check("", False, tuple(f"{name} leads outside the release" for name in outside))
    wrong = [f"{name} is described and missing" for name in parts if not (folder / name).is_file()]
    for name in parts:
        digest = told.get(name, {}).get("sha256")
        if (folder / name).is_file() and digest != sha256_file(folder / name):
            wrong.append(f"{name} is not the file that is described")
    listed = set(read_sums(folder)) - {METADATA} - set(parts)
    wrong += [f"{name} is not described" for name in sorted(listed)]
    return Check("", not wrong, tuple(wrong))


def _folders(folder: Path, suite: Suite) -> Iterator[tuple[str, str, int, Path]]:
    for benchmark, method, seed in suite.jobs():
        yield benchmark, method, seed, folder / "runs" / benchmark / method / str(seed)


def _runs(folder: Path) -> Check:
    _, suite = _suite(folder)
    wrong, wanted = [], set()
    digests: dict[str, str] = {}
    for benchmark, method, seed, run in _folders(folder, suite):
        name = f"{benchmark}/{method}/{seed}"
        wanted.add(run)
        if not (run / "predictions.parquet").is_file():
            wrong.append(f"the run {name} is missing")
            continue
        model = read_json(run / "model.json")
        told = "/".join(str(model[key]) for key in ("benchmark", "method", "seed"))
        if told != name:
            wrong.append(f"runs/{name}/model.json is of the run {told}")
        if model["use"] != suite.methods[method].use:
            wrong.append(
                f"runs/{name} was made by the method {model['use']}, the suite says {suite.methods[method].use}"
            )
        digest = sha256_file(run / "predictions.parquet")
        if digest in digests:
            wrong.append(f"runs/{name} and runs/{digests[digest]} have the same predictions")
        digests[digest] = name
    more = {path.parent for path in (folder / "runs").rglob("predictions.parquet")} - wanted
    wrong += [f"{path.relative_to(folder)} is no run of the suite" for path in sorted(more)]
    return Check("", not wrong, tuple(wrong))


def same_numbers(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Equal texts and whole numbers; other numbers equal to a relative 1e-9 (or both missing)."""
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        return False
    for name in first.columns:
        a, b = first[name], second[name]
        if pd.api.types.is_float_dtype(a) and pd.api.types.is_numeric_dtype(b):
            if not np.allclose(a, b.astype(float), rtol=TOLERANCE, atol=1e-12, equal_nan=True):
                return False
        elif not a.astype(str).equals(b.astype(str)):
            return False
    return True


def _metrics(folder: Path) -> Check:
    _, suite = _suite(folder)
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        for benchmark, method, seed, run in _folders(folder, suite):
            out = Path(temporary) / "metrics.csv"
            try:
                evaluate_run(run / "predictions.parquet", suite.benchmarks[benchmark], benchmark, method, seed, out)
                computed, stated = (_ordered(read_metrics(path)) for path in (out, run / "metrics.csv"))
                if not same_numbers(computed, stated):
                    wrong.append(_first_difference(computed, stated, run, folder))
            except ReproodError as error:
                wrong.append(str(error).replace(f"{folder}/", ""))
    return Check("", not wrong, tuple(wrong))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The order of a run's rows is that of the benchmark's record, which has several forms."""
    return table.sort_values(["split", "score", "metric"], ignore_index=True)


def _first_difference(computed: pd.DataFrame, stated: pd.DataFrame, run: Path, folder: Path) -> str:
    where = str((run / "metrics.csv").relative_to(folder))
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


def _collected(folder: Path) -> Check:
    _, suite = _suite(folder)
    made = {name: benchmark.corruption for name, benchmark in suite.benchmarks.items()}
    baselines = {name: options.baseline for name, options in made.items() if options and options.baseline}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        files = [run / "metrics.csv" for *_, run in _folders(folder, suite)]
        collect(files, out / "metrics.parquet", out / "metrics.csv", out / "summary.json", baselines)
        wrong = []
        if not same_numbers(read_metrics(out / "metrics.csv"), read_metrics(folder / "results" / "metrics.csv")):
            wrong.append("results/metrics.csv differs from the runs' metrics")
        if not same_numbers(
            pd.read_parquet(out / "metrics.parquet"), pd.read_parquet(folder / "results/metrics.parquet")
        ):
            wrong.append("results/metrics.parquet differs from the runs' metrics")
        if json.dumps(read_json(out / "summary.json")) != json.dumps(read_json(folder / "results" / "summary.json")):
            wrong.append("results/summary.json differs from the runs' metrics")
    return Check("", not wrong, tuple(wrong))


def _verdicts(folder: Path) -> Check:
    _, suite = _suite(folder)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "verdicts.csv"
        audit(suite, _papers(folder), folder / "runs", folder / "results" / "studies", out)
        computed, stated = pd.read_csv(out), pd.read_csv(folder / "results" / "verdicts.csv")
    key = ["paper", "claim", "benchmark"]
    if len(computed) != len(stated) or not computed[key].astype(str).equals(stated[key].astype(str)):
        return Check("", False, ("results/verdicts.csv has other claims than the papers' files and the runs give",))
    wrong = []
    for (_, a), (_, b) in zip(computed.iterrows(), stated.iterrows(), strict=True):
        other = [name for name in computed.columns if not _close(a[name], b[name])]
        if other:
            what = ", ".join(f"{name} is stated as {b[name]} and computed as {a[name]}" for name in other[:2])
            wrong.append(f"{a['paper']}/{a['claim']} on {a['benchmark']}: {what}")
    return Check("", not wrong, tuple(wrong))


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return bool(np.isclose(a, b, rtol=1e-7, atol=1e-9, equal_nan=True))
    return str(a) == str(b)


def _tables(folder: Path) -> Check:
    _, suite = _suite(folder)
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()):
            results = BenchmarkResults(name, suite, folder / "runs")
            for kind in tables_of(suite.benchmarks[name]):
                write_table(kind, results, Path(temporary) / kind)
                for form in TABLE_FORMS:
                    stated = folder / "reports" / "tables" / name / f"{kind}{form}"
                    if not stated.is_file() or stated.read_bytes() != Path(temporary, f"{kind}{form}").read_bytes():
                        wrong.append(f"{stated.relative_to(folder)} is not what the results give")
    return _written(folder, wrong, ("tables",))


def _pages(folder: Path) -> Check:
    _, suite = _suite(folder)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        names = write_report(
            suite,
            _papers(folder),
            folder / "results" / "verdicts.csv",
            runs=folder / "runs",
            studies=folder / "results" / "studies",
            data=folder / "data",
            figures=folder / "reports" / "figures",
            defects=folder / "config" / "defects.yaml",
            out=out,
        )
        wrong = [
            f"reports/{name} is not what the results give"
            for name in names
            if not (folder / "reports" / name).is_file()
            or (folder / "reports" / name).read_bytes() != (out / name).read_bytes()
        ]
    return _written(folder, wrong, ("pages", "templates"))


def _written(folder: Path, wrong: list[str], parts: tuple[str, ...]) -> Check:
    """Other bytes prove something only when this version writes as the one that the release was made with."""
    told, here = read_json(folder / CODE), written_by()
    if wrong and any(told.get(part) != here[part] for part in parts):
        revision = told.get("revision") or "unknown"
        text = f"{len(wrong)} files differ, but other code wrote them (revision {revision}); verify with that revision"
        return Check("", None, (text,))
    return Check("", not wrong, tuple(wrong))
