"""From per-sample predictions to a verdict on each claim, with effect, interval, n and a reason in words.

The effect is a difference of means over seeds. Its interval covers the test samples (bootstrap, paired across methods)
and the training seeds (see `reprood.evaluate.bootstrap.contrast`). A verdict at a reduced scale, or in a setting other
than the published one, is never called a reproduction, and values are compared with published ones in their own
setting only.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reprood.audit.evidence import BenchmarkEvidence, Evidence, Part, parts_of
from reprood.audit.papers import SOURCE_WORDS, Claim, Paper, unit
from reprood.audit.reasons import explain
from reprood.audit.replicated import FamilyEvidence, StudyEvidence
from reprood.config import Suite
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates
from reprood.files import atomic_path

LEVEL = 0.95
REDUCED, PAPER = "reduced", "paper"
INCONCLUSIVE, NOT_JUDGED = "inconclusive", "not judged at this scale"
COLUMNS = (
    "paper", "claim", "statement", "exploratory", "kind", "benchmark", "metric", "split", "first", "second",
    "value_first", "value_second", "effect", "low", "high", "level", "p", "p_holm", "margin", "better", "n_seeds",
    "n", "n_ood", "scale", "verdict", "reason", "published_effect", "published_source",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What a claim's data say.

    Attributes
    ----------
    holds : bool or None
        True: the interval lies where the claim says; False: it lies where the claim denies it; None: neither.
    interval : Interval
        Of first minus second (of the value itself for `equals`).
    sides : (str, str)
        Labels of the two sides.
    values : (float, float)
        Means over seeds of the two sides.
    p : float
        Two-sided p value: below 1 - level exactly when `holds` is True or False.
    """

    holds: bool | None
    interval: Interval
    sides: tuple[str, str]
    values: tuple[float, float]
    p: float


def generator_of(*names: str) -> np.random.Generator:
    """A generator that depends on the names only, so that a verdict does not depend on what else is judged."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big"))


def compare(names: Sequence[str], found: Replicates, pair: tuple[int, int], generator: np.random.Generator) -> Interval:
    """Interval of the difference of two sides; sides with equal names are paired replicate by replicate."""
    weights = [0.0] * len(found.observed)
    weights[pair[0]], weights[pair[1]] = 1.0, -1.0
    return contrast(found, weights, generator, LEVEL, trainings=names)


def judge(kind: str, interval: Interval, better: str, margin: float) -> bool | None:
    """Does an interval of first minus second lie where the claim says?

    Returns
    -------
    bool or None
        True: wholly inside what the claim allows; False: wholly outside; None: partly.
    """
    low, high = interval.low, interval.high
    if kind == "equivalent":
        return True if -margin < low and high < margin else False if high < -margin or low > margin else None
    if better == "lower":  # turn it over, so that more is better
        low, high = -high, -low
    threshold = margin if kind in ("difference", "ordering") else -margin
    return True if low > threshold else False if high < threshold else None


def p_values(kind: str, interval: Interval, better: str, margin: float) -> tuple[float, float]:
    """One-sided p values against what denies the claim and against what the claim says (see `judge`)."""
    if kind == "equivalent":  # two one-sided tests
        inside = max(interval.above(-margin), interval.below(margin))
        return inside, min(interval.below(-margin), interval.above(margin))
    threshold = margin if kind in ("difference", "ordering") else -margin
    if better == "lower":
        return interval.below(-threshold), interval.above(-threshold)
    return interval.above(threshold), interval.below(threshold)


def two_sided(steps: Sequence[tuple[float, float]]) -> float:
    """One p value for a claim of one or more steps: all must hold, or any may deny it (Bonferroni)."""
    holds = max(step[0] for step in steps)
    denied = len(steps) * min(step[1] for step in steps)
    return min(1.0, 2 * min(holds, denied))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values for their number; the order is kept."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        found[i] = highest
    return found


def corrected(rows: list[dict[str, Any]]) -> None:
    """Adjust the p values of a paper's main claims for their number; what does not stand it becomes inconclusive.

    A verdict on an exploratory claim stays, and its reason says that it was not corrected.
    """
    for row in rows:
        if row["exploratory"] and row["verdict"] not in (INCONCLUSIVE, NOT_JUDGED):
            row["reason"] += "; exploratory: not corrected for the number of comparisons"
    tested = [row for row in rows if "p" in row and not row["exploratory"]]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = adjusted
        if row["verdict"] not in (INCONCLUSIVE, NOT_JUDGED) and adjusted > 1 - LEVEL:
            row["verdict"] = INCONCLUSIVE
            row["reason"] += (
                f"; but it does not stand Holm's correction for {len(tested)} comparisons of the paper's main claims: "
                f"p = {row['p']:.2g} becomes {adjusted:.2g}, and {1 - LEVEL:.2g} is the limit"
            )


def find(claim: Claim, paper: Paper, evidence: Evidence, parts: Sequence[Part]) -> Finding:
    """Compute a claim's effect and interval on one benchmark."""
    generator = generator_of(paper.id, claim.id, evidence.name)
    found = evidence.replicates(claim, parts, generator)
    means = [float(values.mean()) for values in found.observed]
    if claim.kind == "equals":
        interval = contrast(found, [1.0], generator, LEVEL)
        published = paper.number(claim.published[0]).value * unit(claim.metric)
        holds = judge("equivalent", _shifted(interval, published), claim.better, claim.margin)
        p = two_sided([p_values("equivalent", _shifted(interval, published), claim.better, claim.margin)])
        return Finding(holds, interval, (parts[0].label, "published"), (means[0], published), p)
    steps = []
    for i in range(len(parts) - 1):
        interval = compare([evidence.training(part) for part in parts], found, (i, i + 1), generator)
        steps.append((judge(claim.kind, interval, claim.better, claim.margin), interval, i))
    # an ordering holds when every step holds, and is denied when one step is; the weakest step is shown
    verdicts = [step[0] for step in steps]
    holds = True if all(v is True for v in verdicts) else False if False in verdicts else None
    _, interval, i = min(steps, key=lambda step: {False: 0, None: 1, True: 2}[step[0]])
    p = two_sided([p_values(claim.kind, step[1], claim.better, claim.margin) for step in steps])
    return Finding(holds, interval, (parts[i].label, parts[i + 1].label), (means[i], means[i + 1]), p)


def _shifted(found: Interval, by: float) -> Interval:
    return Interval(
        found.estimate - by, found.low - by, found.high - by, found.level, found.standard_error, found.replicates,
        found.n_seeds, found.n_id, found.n_ood, found.freedom,
    )  # fmt: skip


def published_effect(claim: Claim, paper: Paper) -> tuple[float, str]:
    """The published difference of the claim's first two numbers (or the number itself), and where it was read.

    In the unit of the metric, like the measured effect.
    """
    if not claim.published:
        return math.nan, ""
    numbers = [paper.number(name) for name in claim.published]
    worst = "recalled" if any(n.source == "recalled" for n in numbers) else numbers[0].source
    value = numbers[0].value - numbers[1].value if len(numbers) > 1 else numbers[0].value
    where = f"{numbers[0].where}: {numbers[0].setting}; {SOURCE_WORDS[worst]}"
    return round(value * unit(claim.metric), 8), where


def _begin(claim: Claim, paper: Paper, benchmark: str, labels: Sequence[str], scale: str) -> dict[str, Any]:
    """What is known of a verdict before anything is measured."""
    effect, source = published_effect(claim, paper)
    return {
        "paper": paper.id, "claim": claim.id, "statement": claim.statement,
        "exploratory": claim.exploratory, "kind": claim.kind, "benchmark": benchmark,
        "metric": claim.metric, "split": claim.split, "first": labels[0],
        "second": labels[1] if len(labels) > 1 else "published", "margin": claim.margin, "better": claim.better,
        "level": LEVEL, "n_seeds": 0, "scale": scale, "published_effect": effect, "published_source": source,
    }  # fmt: skip


def verdict(claim: Claim, paper: Paper, evidence: Evidence, parts: Sequence[Part], scale: str) -> dict[str, Any]:
    """One row of the verdicts."""
    elsewhere = evidence.elsewhere(claim, parts) if scale == PAPER else ""
    row = _begin(claim, paper, evidence.name, [part.label for part in parts], REDUCED if elsewhere else scale)
    methods = list(dict.fromkeys(part.method for part in parts))
    row["n_seeds"] = min(len(evidence.seeds[method]) for method in methods)
    obstacle = evidence.obstacle(claim, parts)
    if obstacle:
        return row | {"verdict": INCONCLUSIVE, "reason": obstacle}
    if claim.kind == "equals" and row["scale"] == REDUCED:
        reason = elsewhere or "a published value is compared at the paper's scale only"
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
    }
    if row["n_seeds"] < claim.min_seeds:
        reason = f"too few seeds: {row['n_seeds']}, and {claim.min_seeds} are needed"
        return row | {"verdict": INCONCLUSIVE, "reason": reason}
    schedules = [epochs for epochs in map(evidence.epochs, methods) if epochs is not None]
    short = min(schedules, default=claim.min_epochs)
    if short < claim.min_epochs and finding.holds is not True:
        reason = f"not testable on this schedule: {short} epochs, and the effect is expected from {claim.min_epochs} on"
        return row | {"verdict": INCONCLUSIVE, "reason": reason}
    reason = explain(claim, finding.holds, finding.interval, finding.values[1])
    return row | {
        "verdict": name_of(finding.holds, row["scale"]),
        "reason": f"{reason}; {elsewhere}" if elsewhere else reason,
    }


def name_of(holds: bool | None, scale: str) -> str:
    """The verdict's name; "reproduced" is for the paper's scale alone."""
    if holds is None:
        return INCONCLUSIVE
    if scale == PAPER:
        return "reproduced" if holds else "contradicted"
    return f"{'supported' if holds else 'contradicted'} at reduced scale"


def gather(suite: Suite, runs: Path, studies: Path) -> list[Evidence]:
    """Everything of a suite on which claims can be judged: benchmarks, families, studies."""
    found: dict[str, BenchmarkEvidence] = {}
    for name in dict.fromkeys(benchmark for benchmark, _, _ in suite.jobs()):
        seeds: dict[str, list[int]] = {}
        for _, method, seed in (job for job in suite.jobs() if job[0] == name):
            seeds.setdefault(method, []).append(seed)
        found[name] = BenchmarkEvidence(runs, name, suite.benchmarks[name], seeds)
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
    runs: Path,
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
    runs, studies : Path
        Folders of the runs and of the studies.
    out : Path
        The CSV file. Effects, intervals, margins and published effects are in the unit of the metric: percent for
        errors, [0, 1] for detection metrics.
    progress : callable
        Told one line a verdict.

    Returns
    -------
    DataFrame
        The rows as written. The same predictions give the same bytes.
    """
    rows: list[dict[str, Any]] = []
    evidence = gather(suite, runs, studies)
    for paper in papers:
        begin = len(rows)
        for claim in paper.claims:
            fitting = False
            for one in evidence:
                parts = parts_of(claim, paper, one.seeds) if one.measures(claim) else None
                if parts is not None:
                    fitting = True
                    rows.append(verdict(claim, paper, one, parts, suite.scale))
                    progress(f"{paper.id}/{claim.id} on {one.name}: {rows[-1]['verdict']}")
            if not fitting:
                rows.append(_not_run(claim, paper, suite))
        corrected(rows[begin:])
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    with atomic_path(out) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.10g")
    return table


def _not_run(claim: Claim, paper: Paper, suite: Suite) -> dict[str, Any]:
    ran = {method for _, method, _ in suite.jobs()}
    if claim.study:
        what = f"the study {claim.study}"
    else:
        lacking = sorted({side.method for side in claim.sides if paper.method_of(side.method, ran) is None})
        what = ", ".join(lacking) or f"these methods on a benchmark that measures {claim.metric} on {claim.split}"
    row = _begin(claim, paper, "", [side.label for side in claim.sides], suite.scale)
    return row | {"verdict": INCONCLUSIVE, "reason": f"not run in this suite: {what}"}
