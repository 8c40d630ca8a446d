"""The raw numbers behind each verdict and each leaderboard entry, as small CSV files next to the pages."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.claims import Claim
from reprood.audit.papers import Paper
from reprood.audit.parts import Part, parts_of
from reprood.audit.studies import read_study
from reprood.config.benchmark import Benchmark
from reprood.config.conditions import matching
from reprood.config.suite import Suite
from reprood.core.files import atomic_path
from reprood.evaluate.table import GATE, NO_SCORE, groups
from reprood.report.formats import linked
from reprood.report.ranking import Board, boards
from reprood.report.results import BenchmarkResults

FOLDER = "evidence"
DIGITS = 12  # of a hash
Hashes = Mapping[tuple[str, str, int], str]


def hashes_of(benchmarks: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], str]:
    """Return (benchmark, method, seed) -> abbreviated SHA-256 of the predictions, from the records of the pages."""
    return {
        (item["name"], run["method"], run["seed"]): run["predictions"] for item in benchmarks for run in item["runs"]
    }


def parts_of_split(benchmark: Benchmark, split: str) -> tuple[str, ...]:
    """Return a split and, for a mean, the OOD sets or conditions that it averages."""
    if split == "test" or split in benchmark.ood:
        return (split,)
    return tuple(dict.fromkeys((split, *groups(benchmark).get(split, ()), *matching(benchmark, split))))


def metric_rows(
    results: BenchmarkResults, side: str, method: str, metric: str, split: str, score: str, hashes: Hashes
) -> pd.DataFrame:
    """Return the metrics of one side in every seed, on the split and on the sets that it averages.

    Parameters
    ----------
    results : BenchmarkResults
        Results of the benchmark.
    side : str
        Label for the first column.
    method, metric, split : str
        Which rows to select.
    score : str
        A trailing "*" selects all scores with this prefix.
    hashes : mapping
        See `hashes_of`.
    """
    everything = results.rows[method]
    rows = everything[everything["metric"] == metric]
    rows = rows[rows["split"].isin(parts_of_split(results.benchmark, split))]
    rows = rows[rows["score"].str.startswith(score[:-1]) if score.endswith("*") else rows["score"] == score]
    rows = rows.assign(side=side)
    gate = everything[everything["metric"] == GATE]
    rows = pd.concat([rows, gate[gate["value"] == 0].assign(side=side)])
    seeds = [int(seed) for seed in rows["seed"]]
    files = [results.stored.path(method, seed, "predictions.parquet") for seed in seeds]
    rows = rows.assign(
        predictions=files,
        sha256=[hashes[results.name, method, seed] for seed in seeds],
    )
    return rows[["side", *(name for name in rows.columns if name != "side")]]


def verdict_rows(
    claim: Claim,
    paper: Paper,
    benchmark: str,
    results: Sequence[BenchmarkResults],
    studies: Mapping[str, pd.DataFrame],
    hashes: Hashes,
) -> pd.DataFrame | None:
    """Return the rows behind a verdict: of a benchmark, a family or a study; None if nothing was run.

    Parameters
    ----------
    claim, paper : Claim, Paper
        The claim and its paper.
    benchmark : str
        Name of the benchmark, family or study in the verdict.
    results : sequence of BenchmarkResults
        Results of all benchmarks.
    studies : mapping
        The values of each study.
    hashes : mapping
        See `hashes_of`.
    """
    if claim.study:
        values = studies.get(benchmark)
        if values is None:
            return None
        arms = [side.method for side in claim.sides]
        found = values[(values["metric"] == claim.metric) & values["arm"].isin(arms)]
        return found.assign(arm=pd.Categorical(found["arm"], list(dict.fromkeys(arms)))).sort_values(["arm", "seed"])
    where = [one for one in results if one.name == benchmark]
    tables = []
    for one in where:
        sides: list[Part] = parts_of(claim, paper, dict.fromkeys(one.methods)) or []
        for part in sides:
            split = part.split or claim.on(one.benchmark).split
            tables.append(metric_rows(one, part.label, part.method, claim.metric, split, part.score, hashes))
    return pd.concat(tables, ignore_index=True) if tables else None


def board_rows(results: BenchmarkResults, boards: Iterable[Board], method: str, hashes: Hashes) -> pd.DataFrame:
    """Return the rows behind a method's entries in the leaderboards of a benchmark."""
    tables = [
        metric_rows(
            results, one.title, method, one.metric, one.split, one.scores[one.methods.index(method)] or NO_SCORE, hashes
        )
        for one in boards
        if method in one.methods
    ]
    return pd.concat(tables, ignore_index=True).rename(columns={"side": "column"})


def file_of(*names: str) -> str:
    """Return a path relative to the report's folder; no name can lead outside it."""
    return "/".join([FOLDER, *(re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "_" for name in names)]) + ".csv"


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as CSV with unrounded numbers."""
    with atomic_path(path) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\n")


def write_evidence(
    papers: Sequence[Mapping[str, Any]],
    benchmarks: Sequence[dict[str, Any]],
    results: Sequence[BenchmarkResults],
    suite: Suite,
    studies: Path,
    out: Path,
) -> list[str]:
    """Write the rows behind every verdict and leaderboard entry, and add links to them to the records.

    Parameters
    ----------
    papers, benchmarks : sequence of dict
        Records of their pages; claims get `evidence`, leaderboards get links.
    results : sequence of BenchmarkResults
        In the order of `benchmarks`.
    suite : Suite
        The suite.
    studies, out : Path
        Folders of the studies and of the report.

    Returns
    -------
    list of str
        The files, relative to `out`.
    """
    written: list[str] = []

    def keep(rows: pd.DataFrame | None, *names: str) -> str:
        if rows is None or rows.empty:
            return ""
        name = file_of(*names)
        if name in written:  # two names that differ only in characters that file names cannot have
            name = file_of(*names[:-1], f"{names[-1]}-{len(written)}")
        write_rows(rows, out / name)
        written.append(name)
        return name

    hashes = hashes_of(benchmarks)
    values = {name: read_study(studies / name / "values.csv") for name in suite.studies}
    for item in papers:
        paper = item["paper"]
        claims = {claim.id: claim for claim in paper.claims}
        for claim in item["claims"]:
            name = claim["benchmark"]
            rows = verdict_rows(claims[claim["id"]], paper, name, results, values, hashes) if name else None
            claim["evidence"] = keep(rows, "papers", paper.id, f"{claim['id']}-{name}")
    for record, one in zip(benchmarks, results, strict=True):
        found = boards(one)
        methods = dict.fromkeys(method for board in found for method in board.methods)
        links = [keep(board_rows(one, found, method, hashes), "benchmarks", one.name, method) for method in methods]
        record["tables"]["leaderboard"] = linked(record["tables"]["leaderboard"], links)
    return written
