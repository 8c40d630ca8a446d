"""Check a published release without trusting who made it: no torch, no GPU, no network, no data.

Checksums and signature are checked first. Then the scores of detectors are recomputed from the stored logits, every
metric from predictions and scores, every verdict from these, and every table and page from those; the results are
compared with what the release states. A part is recomputed only by the code that computed it, known by its fingerprint:
other code may round, order or word things differently.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pyarrow as pa

from reprood.audit.verdicts import audit
from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.core.yaml import read_yaml
from reprood.evaluate.collect import baselines_of, collect
from reprood.evaluate.predictions import SCORES
from reprood.evaluate.table import evaluate_run, read_metrics
from reprood.publish.checks import Check, Verification
from reprood.publish.contents import CODE, METADATA, SUITE, Paths, fingerprints, places_of
from reprood.publish.numbers import TOLERANCE, same_numbers
from reprood.publish.own import own_detectors, with_stored
from reprood.publish.part import judged_papers, stated_suite
from reprood.publish.rescore import wrong_scores
from reprood.publish.seal import check_signature, differences, read_sums, sums_of
from reprood.publish.unpack import opened
from reprood.report.contents import TABLE_FORMS, tables_of
from reprood.report.pages import Identity, write_report
from reprood.report.results import BenchmarkResults
from reprood.report.tables import write_table

# Exceptions that reading a damaged or hostile release may raise; the check then fails.
UNREADABLE = (
    ReproodError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    MemoryError, AssertionError, pa.ArrowException, jinja2.TemplateError,
)  # fmt: skip
REVISION = re.compile(r"[0-9a-f]{7,40}")
OTHER_CODE = "computed by other code than this"
OWN_CODE = "needs the release's own detectors ({files}), code of its author; read it, then give --own-detectors"
Found = tuple[int | None, list[str]]  # how many things were looked at, and what is wrong


def verify(
    path: Path,
    signers: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
    *,
    run_own: bool = False,
) -> Verification:
    """Check a release; what cannot even be read counts as not holding.

    Parameters
    ----------
    path : Path
        Its folder or zip archive.
    signers : Path, optional
        An `allowed_signers` file (ssh-keygen(1)) of those whose signature is trusted.
    log : callable
        Called with the text of each check when it is done.
    run_own : bool
        Run detectors that the release holds as files of its author.
    """
    checks: list[Check] = []

    def add(check: Check) -> None:
        checks.append(check)
        log(str(check))

    skipped = own_code = 0
    with opened(path) as folder:
        paths, stated, here = Paths(folder), _stated_code(folder), fingerprints()
        # name, the parts of the code that it depends on, a function that returns what is wrong
        recomputed: tuple[tuple[str, tuple[str, ...], Callable[[], Found]], ...] = (
            ("configuration is the one of the suite's file", ("suite",), lambda: _configuration(paths)),
            ("every run is there, and is the run that it says", ("suite",), lambda: _runs(paths)),
            ("scores of detectors follow from the logits", ("suite", "scores"), lambda: _scores(paths)),
            ("metrics follow from the predictions", ("suite", "metrics"), lambda: _metrics(paths)),
            ("the table of all metrics follows from the runs'", ("suite", "metrics"), lambda: _collected(paths)),
            ("verdicts follow from the predictions", ("suite", "verdicts"), lambda: _verdicts(paths)),
            ("tables follow from the results", ("suite", "tables"), lambda: _tables(paths)),
            ("pages follow from the results", ("suite", "pages", "templates"), lambda: _pages(paths)),
        )
        add(_checked("files are those that were listed", lambda: _files(folder)))
        add(_signature(folder, signers))
        add(_checked("description lists the files", lambda: _description(folder)))
        own = _own_files(paths)
        for name, parts, step in recomputed:
            if own and not run_own and "scores" in parts:
                own_code += 1
                add(Check(name, None, (OWN_CODE.format(files=", ".join(own)),)))
            elif all(stated.get(part) == here[part] for part in parts):
                add(_checked(name, step))
            else:
                skipped += 1
                add(Check(name, None, (OTHER_CODE,)))
    revision = str(stated.get("revision") or "")
    return Verification(tuple(checks), skipped, revision if REVISION.fullmatch(revision) else "", own_code)


def _own_files(paths: Paths) -> list[str]:
    """Return the files with own detectors that the suite of a release names; none when it cannot be read."""
    try:
        return sorted(set(own_detectors(paths.suite()[1]).values()))
    except UNREADABLE:
        return []  # every check then fails for this reason


def _stated_code(folder: Path) -> dict[str, Any]:
    """Return the revision and fingerprints of the code that made a release; empty when they cannot be read."""
    try:
        stated = read_json(folder / CODE)
    except UNREADABLE:
        return {}  # every part then counts as computed by other code
    return stated if isinstance(stated, dict) else {}


def _checked(name: str, step: Callable[[], Found]) -> Check:
    """Make a check; one that looked at nothing does not hold."""
    try:
        count, details = step()
    except UNREADABLE as error:
        count, details = None, [str(error) if isinstance(error, ReproodError) else f"{type(error).__name__}: {error}"]
    if count == 0 and not details:
        details = ["there was nothing to check"]
    return Check(name, not details, tuple(details), count)


# --- the checks


def _signature(folder: Path, signers: Path | None) -> Check:
    try:
        holds, text = check_signature(folder, signers)
    except UNREADABLE as error:
        holds, text = False, str(error)
    return Check("signature", holds, (text,))


def _files(folder: Path) -> Found:
    stated, present = read_sums(folder), sums_of(folder)
    wrong = differences(stated, present)
    changed = [name for name in stated if name in present and present[name] != stated[name]]
    ends = [name for name in changed if _with_line_feeds(folder / name) == stated[name]]
    if ends:
        wrong.insert(0, f"{len(ends)} files have other line ends: git rewrote them; clone with -c core.autocrlf=false")
    return len(stated), wrong


def _with_line_feeds(path: Path) -> str:
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _configuration(paths: Paths) -> Found:
    _, suite = paths.suite()
    stated = stated_suite(paths).model_dump(mode="json", exclude={"settings", "replicates"})
    held = suite.model_dump(mode="json", exclude={"settings"})
    wrong = [f"{SUITE} and the suite's file differ in '{key}'" for key in stated if stated[key] != held[key]]
    settings = read_yaml(paths.root / "config" / "config.yaml") or {}
    if not isinstance(settings, dict):
        wrong.append("config/config.yaml is not a mapping")
    return len(stated), wrong


def _description(folder: Path) -> Found:
    graph = read_json(folder / METADATA)["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    parts = [part["@id"] for part in entities["./"]["hasPart"]]
    outside = [name for name in parts if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        return len(parts), [f"{name} leads outside the release" for name in outside]
    wrong = [f"{name} is described and missing" for name in parts if not (folder / name).is_file()]
    for name in parts:
        digest = entities.get(name, {}).get("sha256")
        if (folder / name).is_file() and digest != sha256_file(folder / name):
            wrong.append(f"{name} is not the file that is described")
    listed = set(read_sums(folder)) - {METADATA} - set(parts)
    wrong += [f"{name} is not described" for name in sorted(listed)]
    return len(parts), wrong


def _runs(paths: Paths) -> Found:
    _, suite = paths.suite()
    wrong, wanted = [], set()
    digests: dict[str, str] = {}
    for benchmark, method, seed, run in paths.all_runs(suite):
        name = f"{benchmark}/{method}/{seed}"
        wanted.add(run)
        if not (run / "predictions.parquet").is_file():
            wrong.append(f"the run {name} is missing")
            continue
        model = read_json(run / "model.json")
        stated = "/".join(str(model[key]) for key in ("benchmark", "method", "seed"))
        if stated != name:
            wrong.append(f"runs/{name}/model.json is of the run {stated}")
        if model["use"] != suite.methods[method].use:
            wrong.append(
                f"runs/{name} was made by the method {model['use']}, the suite says {suite.methods[method].use}"
            )
        digest = sha256_file(run / "predictions.parquet")
        if digest in digests:
            wrong.append(f"runs/{name} and runs/{digests[digest]} have the same predictions")
        digests[digest] = name
    more = {path.parent for path in paths.runs.rglob("predictions.parquet")} - wanted
    wrong += [f"{paths.name_of(path)} is not a run of the suite" for path in sorted(more)]
    return len(wanted), wrong


def _scores(paths: Paths) -> Found:
    suite = with_stored(paths.suite()[1], paths.root)
    wrong, count = [], 0
    for benchmark, _, _, run in paths.all_runs(suite):
        count += 1
        try:
            found = wrong_scores(run, suite.benchmarks[benchmark])
            wrong += [f"{paths.name_of(run / SCORES)}: {text}" for text in found]
        except ReproodError as error:
            wrong.append(str(error).replace(f"{paths.root}/", ""))
    return count, wrong


def _metrics(paths: Paths) -> Found:
    _, suite = paths.suite()
    wrong, count = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        for benchmark, method, seed, run in paths.all_runs(suite):
            count += 1
            out = Path(temporary) / "metrics.csv"
            try:
                evaluate_run(run, suite.benchmarks[benchmark], benchmark, method, seed, out, run)
                computed, stated = (_ordered(read_metrics(path)) for path in (out, run / "metrics.csv"))
                if not same_numbers(computed, stated):
                    wrong.append(_first_difference(computed, stated, paths.name_of(run / "metrics.csv")))
            except ReproodError as error:
                wrong.append(str(error).replace(f"{paths.root}/", ""))
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


def _collected(paths: Paths) -> Found:
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


def _verdicts(paths: Paths) -> Found:
    _, suite = paths.suite()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "verdicts.csv"
        audit(suite, judged_papers(paths, suite), paths.root, paths.studies, out)
        computed, stated = pd.read_csv(out), pd.read_csv(paths.verdicts)
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


def _tables(paths: Paths) -> Found:
    _, suite = paths.suite()
    wrong, count = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in places_of(suite):
            results = BenchmarkResults(name, suite, paths.root)
            for kind in tables_of(suite.record(name)):
                write_table(kind, results, Path(temporary) / kind)
                for form in TABLE_FORMS:
                    count += 1
                    stated = paths.reports / "tables" / name / f"{kind}{form}"
                    if not stated.is_file() or stated.read_bytes() != Path(temporary, f"{kind}{form}").read_bytes():
                        wrong.append(f"{paths.name_of(stated)} is not what the results give")
    return count, wrong


def _pages(paths: Paths) -> Found:
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
            out=out,
            identity=identity,
        )
        return len(names), [
            f"reports/{name} is not what the results give"
            for name in names
            if not (paths.reports / name).is_file() or (paths.reports / name).read_bytes() != (out / name).read_bytes()
        ]
