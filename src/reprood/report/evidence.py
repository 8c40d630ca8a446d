"""The rows on which a verdict or a place in a leaderboard rests, as small CSV files beside the pages."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.evidence import Part, parts_of
from reprood.audit.papers import Claim, Paper
from reprood.audit.replicated import read_study
from reprood.config.benchmark import Benchmark
from reprood.config.conditions import matching
from reprood.config.suite import Suite
from reprood.core.files import atomic_path
from reprood.evaluate.table import GATE, NO_SCORE, groups
from reprood.report.boards import Board, boards
from reprood.report.forms import linked
from reprood.report.results import BenchmarkResults

FOLDER = "evidence"
DIGITS = 12  # of a hash
Hashes = Mapping[tuple[str, str, int], str]


def hashes_of(benchmarks: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], str]:
    """Beginning of the SHA-256 of the predictions of each (benchmark, method, seed), from the pages' records."""
    return {
        (item["name"], run["method"], run["seed"]): run["predictions"] for item in benchmarks for run in item["runs"]
    }


def parts_of_split(benchmark: Benchmark, split: str) -> tuple[str, ...]:
    """What a split's name means: itself, and the OOD sets or conditions over which it is a mean."""
    if split == "test" or split in benchmark.ood:
        return (split,)
    return tuple(dict.fromkeys((split, *groups(benchmark).get(split, ()), *matching(benchmark, split))))


def metric_rows(
    results: BenchmarkResults, side: str, method: str, metric: str, split: str, score: str, hashes: Hashes
) -> pd.DataFrame:
    """The rows of metrics of one side: its metric in every seed, on the split and on what the split is a mean of.

    Parameters
    ----------
    side : str
        Stands in the first column.
    score : str
        A trailing "*" takes all scores with this beginning.
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
    files = [results.suite.folders.file(results.name, method, seed, "predictions.parquet") for seed in seeds]
    rows = rows.assign(
        predictions=[f"runs/{file}" for file in files],
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
    """The rows of a verdict: of a benchmark, of all members of a family, or of a study; None when nothing was run.

    Parameters
    ----------
    benchmark : str
        The name in the verdict.
    studies : mapping
        The values of each study.
    """
    if claim.study:
        values = studies.get(benchmark)
        if values is None:
            return None
        arms = [side.method for side in claim.sides]
        found = values[(values["metric"] == claim.metric) & values["arm"].isin(arms)]
        return found.assign(arm=pd.Categorical(found["arm"], list(dict.fromkeys(arms)))).sort_values(["arm", "seed"])
    where = [one for one in results if benchmark in (one.name, one.benchmark.family)]
    tables = []
    for one in where:
        sides: list[Part] = parts_of(claim, paper, dict.fromkeys(one.methods)) or []
        for part in sides:
            split = part.split or claim.split
            tables.append(metric_rows(one, part.label, part.method, claim.metric, split, part.score, hashes))
    return pd.concat(tables, ignore_index=True) if tables else None


def board_rows(results: BenchmarkResults, boards: Iterable[Board], method: str, hashes: Hashes) -> pd.DataFrame:
    """The rows of a method's places in the leaderboards of a benchmark."""
    tables = [
        metric_rows(
            results, one.title, method, one.metric, one.split, one.scores[one.methods.index(method)] or NO_SCORE, hashes
        )
        for one in boards
        if method in one.methods
    ]
    return pd.concat(tables, ignore_index=True).rename(columns={"side": "column"})


def file_of(*names: str) -> str:
    """A path below the report's folder for a file about these names; no name leads out of it."""
    return "/".join([FOLDER, *(re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "_" for name in names)]) + ".csv"


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as CSV; numbers as they are stored."""
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
    """Write the rows of every verdict and of every place in a leaderboard, and put links to them into the records.

    Parameters
    ----------
    papers, benchmarks : sequence of dict
        What their pages show; a claim gets `evidence`, a leaderboard its links.
    results : sequence of BenchmarkResults
        In the order of `benchmarks`.
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
        if name in written:  # of two names that differ in what a file's name cannot hold
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
        record["leaderboard"] = linked(record["leaderboard"], links)
    return written
