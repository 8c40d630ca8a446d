"""From per-sample predictions to a verdict on each claim, with effect, interval, n and a reason in words.

The effect is a difference of means over seeds. Its interval covers the test samples (bootstrap, paired across methods)
and the training seeds (see `reprood.evaluate.bootstrap.contrast`). A verdict at a reduced scale, or in a setting other
than the published one, is never called a reproduction, and values are compared with published ones in their own
setting only.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.comparisons import absent, find, pieces
from reprood.audit.decide import LEVEL, holm
from reprood.audit.evidence import BenchmarkEvidence, Evidence, Part, parts_of
from reprood.audit.explanations import explain, pattern
from reprood.audit.families import FamilyEvidence
from reprood.audit.papers import Claim, Paper, unit
from reprood.audit.published import SOURCE_WORDS
from reprood.audit.settings import attached, major, texts
from reprood.audit.studies import StudyEvidence
from reprood.config.suite import Suite
from reprood.core.files import atomic_path

REDUCED, PAPER = "reduced", "paper"
INCONCLUSIVE, NOT_JUDGED, NOT_RUN = "inconclusive", "not judged at this scale", "not run"
UNDECIDED = (INCONCLUSIVE, NOT_JUDGED, NOT_RUN)
COLUMNS = (
    "paper", "claim", "statement", "exploratory", "kind", "benchmark", "metric", "split", "first", "second",
    "value_first", "value_second", "effect", "low", "high", "level", "p", "p_strict", "p_holm", "margin", "better",
    "n_seeds", "n", "n_ood", "scale", "verdict", "reason", "below_chance", "published_effect", "published_source",
    "comparable", "differences",
)  # fmt: skip


def corrected(rows: list[dict[str, Any]]) -> None:
    """Correct the p values of a paper's main claims; verdicts that are no longer significant become inconclusive.

    Verdicts on exploratory claims are kept; their reason says that they were not corrected.
    """
    for row in rows:
        if row["exploratory"] and row["verdict"] not in UNDECIDED:
            row["reason"] += "; exploratory: not corrected for multiple testing"
    tested = [row for row in rows if "p" in row and not row["exploratory"]]
    # one comparison alone needs no correction
    p_values = [row["p_strict"] if len(tested) > 1 else row["p"] for row in tested]
    for row, p, adjusted in zip(tested, p_values, holm(p_values), strict=True):
        row["p_holm"] = adjusted
        if row["verdict"] not in UNDECIDED and adjusted > 1 - LEVEL:
            row["verdict"] = INCONCLUSIVE
            row["reason"] += (
                f"; but it is not significant after correction for {len(tested)} comparisons "
                f"(Holm: p = {p:.2g} with the seeds' degrees of freedom becomes {adjusted:.2g}, limit {1 - LEVEL:.2g})"
            )


def published_effect(claim: Claim, paper: Paper, step: int = 0) -> tuple[float, str]:
    """Return the published difference of the two sides of a step (or the number itself), and its source.

    The difference is in the unit of the metric, like the measured effect.

    Parameters
    ----------
    claim, paper : Claim, Paper
        The claim and its paper.
    step : int
        Position of the step's first side; above 0 only for an ordering.
    """
    if not claim.published:
        return math.nan, ""
    numbers = [paper.number(name) for name in claim.published[step : step + 2]]
    unverified = any(number.source == "recalled" for number in numbers)
    values = [number.value if claim.study else number.as_measured for number in numbers]
    value = values[0] - values[1] if len(values) > 1 else values[0]
    where = f"{numbers[0].where}: {numbers[0].setting}; {SOURCE_WORDS['recalled'] if unverified else numbers[0].read}"
    return round(value * unit(claim.metric), 8), where


def _begin(claim: Claim, paper: Paper, benchmark: str, labels: Sequence[str], scale: str) -> dict[str, Any]:
    """Return the columns of a verdict that are known before anything is measured."""
    effect, source = published_effect(claim, paper)
    return {
        "paper": paper.id, "claim": claim.id, "statement": claim.statement,
        "exploratory": claim.exploratory, "kind": claim.kind, "benchmark": benchmark,
        "metric": claim.metric, "split": claim.split, "first": labels[0],
        "second": labels[1] if len(labels) > 1 else "published", "margin": claim.margin, "better": claim.better,
        "level": LEVEL, "n_seeds": 0, "scale": scale, "below_chance": "", "published_effect": effect,
        "published_source": source, "comparable": False, "differences": "",
    }  # fmt: skip


def verdict(claim: Claim, paper: Paper, evidence: Evidence, parts: Sequence[Part], scale: str) -> dict[str, Any]:
    """Judge a claim on one benchmark, family or study; return a row of the verdicts."""
    others = evidence.differences(claim, paper, parts)
    elsewhere = texts(major(others)) if scale == PAPER else ""
    row = _begin(claim, paper, evidence.name, [part.label for part in parts], REDUCED if elsewhere else scale)
    from_numbers = evidence.from_numbers(claim, paper, parts)
    row["differences"] = texts(from_numbers if claim.published else others)
    row["comparable"] = attached(from_numbers)
    methods = list(dict.fromkeys(part.method for part in parts))
    judged_on = [one for _, one, _ in pieces(claim, evidence, parts)] if claim.kind == "signs" else [evidence]
    row["n_seeds"] = min(len(one.seeds[method]) for one in judged_on for method in methods)
    obstacle = absent(claim, evidence, parts) or evidence.obstacle(claim, parts)
    if obstacle:
        return row | {"verdict": INCONCLUSIVE, "reason": obstacle}
    if claim.kind == "equals" and (row["scale"] == REDUCED or not attached(from_numbers)):
        reason = elsewhere or texts(from_numbers) or "published values are compared only at the paper's scale"
        return row | {"verdict": NOT_JUDGED, "reason": reason}
    finding = find(claim, paper, evidence, parts)
    row |= {
        "first": finding.sides[0],
        "second": finding.sides[1],
        "value_first": finding.values[0],
        "value_second": finding.values[1],
        "effect": finding.interval.estimate,
        "low": finding.interval.low,
        "high": finding.interval.high,
        "n": finding.interval.n_id,
        "n_ood": finding.interval.n_ood,
        "p": finding.p,
        "p_strict": finding.p_strict,
        "below_chance": "; ".join(finding.below_chance),
    }
    if claim.kind == "ordering":
        row["published_effect"], row["published_source"] = published_effect(claim, paper, finding.step)
    if row["n_seeds"] < claim.min_seeds:
        reason = f"too few seeds: {row['n_seeds']} here, the test needs {claim.min_seeds}"
        return row | {"verdict": INCONCLUSIVE, "reason": reason}
    schedules = [epochs for epochs in map(evidence.epochs, methods) if epochs is not None]
    short = min(schedules, default=claim.min_epochs)
    if short < claim.min_epochs and finding.holds is not True:
        reason = f"trained too briefly to test: {short} epochs here, at least {claim.min_epochs} are needed"
        return row | {"verdict": INCONCLUSIVE, "reason": reason}
    if claim.kind == "signs":
        row["split"] = finding.where if claim.over == "sets" else row["split"]
        row["better"] = finding.better
        reason = pattern(claim, finding.holds, finding.interval, finding.where, finding.each)
    else:
        reason = explain(claim, finding.holds, finding.interval, finding.values[1])
    return row | {
        "verdict": name_of(finding.holds, row["scale"]),
        "reason": f"{reason}; {elsewhere}" if elsewhere else reason,
    }


def name_of(holds: bool | None, scale: str) -> str:
    """Return the name of a verdict; "reproduced" is only used at the paper's scale."""
    if holds is None:
        return INCONCLUSIVE
    if scale == PAPER:
        return "reproduced" if holds else "contradicted"
    return f"{'supported' if holds else 'contradicted'} at reduced scale"


def gather(suite: Suite, root: Path, studies: Path) -> list[Evidence]:
    """Collect everything in a suite that claims can be judged on: benchmarks, families and studies."""
    found: dict[str, BenchmarkEvidence] = {}
    for name in dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()):
        seeds: dict[str, list[int]] = {}
        for _, method, seed in (job for job in suite.jobs() if job[0] == name):
            seeds.setdefault(method, []).append(seed)
        found[name] = BenchmarkEvidence(root, name, suite.benchmarks[name], seeds, suite.folders)
    families = [
        FamilyEvidence(family, [found[name] for name in names if name in found])
        for family, names in suite.families().items()
        if any(name in found for name in names)
    ]
    alone: list[Evidence] = [one for one in found.values() if not one.benchmark.family]
    analysed = [StudyEvidence(name, study.use, studies / name / "values.csv") for name, study in suite.studies.items()]
    return [*alone, *families, *analysed]


def audit(
    suite: Suite,
    papers: Sequence[Paper],
    root: Path,
    studies: Path,
    out: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Judge every claim on every benchmark that ran its methods, and write `verdicts.csv`.

    Parameters
    ----------
    suite : Suite
        What ran, at which scale.
    papers : sequence of Paper
        The papers with their claims.
    root : Path
        The checkout or the release, with the runs.
    studies : Path
        Folder of the studies.
    out : Path
        The CSV file. Effects, intervals, margins and published effects are in the unit of the metric: percent for
        errors, [0, 1] for detection metrics.
    progress : callable
        Called with one line per verdict.

    Returns
    -------
    DataFrame
        The rows as written. The same predictions give the same bytes.
    """
    rows: list[dict[str, Any]] = []
    evidence = gather(suite, root, studies)
    for paper in papers:
        begin = len(rows)
        for claim in paper.claims:
            of_claim: list[dict[str, Any]] = []
            for one in evidence:
                here = one.on_split(claim)
                parts = parts_of(here, paper, one.seeds) if one.measures(here) else None
                if parts is not None and claim.kind == "signs" and not pieces(here, one, parts):
                    parts = None
                if parts is not None:
                    of_claim.append(verdict(here, paper, one, parts, suite.scale))
                    progress(f"{paper.id}/{claim.id} on {one.name}: {of_claim[-1]['verdict']}")
            rows.extend(_once(of_claim) or [_not_run(claim, paper, suite)])
        corrected(rows[begin:])
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    with atomic_path(out) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.10g")
    return table


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep one row, without a benchmark, of a claim that no benchmark could judge; else drop those that could not."""
    judged = [row for row in rows if row["verdict"] != NOT_JUDGED]
    if judged or len(rows) < 2:
        return judged or rows
    reasons = {row["reason"] for row in rows}
    reason = reasons.pop() if len(reasons) == 1 else "no benchmark of this suite has the published setting"
    return [rows[0] | {"benchmark": "", "n_seeds": 0, "reason": reason}]


def _not_run(claim: Claim, paper: Paper, suite: Suite) -> dict[str, Any]:
    ran = {method for _, method, _ in suite.jobs()}
    if claim.study:
        what = f"the study {claim.study}"
    else:
        missing = sorted({side.method for side in claim.sides if paper.method_of(side.method, ran) is None})
        what = ", ".join(missing) or f"these methods on a benchmark that measures {claim.metric} on {claim.split}"
    row = _begin(claim, paper, "", [side.label for side in claim.sides], suite.scale)
    return row | {"verdict": NOT_RUN, "reason": f"this suite does not run {what}"}
