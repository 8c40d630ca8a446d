"""From per-sample predictions to a verdict on each claim, with effect, interval, n and a reason in words.

The effect is a difference of means over replicates. Its interval covers the test samples (bootstrap, paired across
methods), the training seeds, and class splits where replicates have their own (see
`reprood.evaluate.bootstrap.contrast`). A verdict at a reduced scale, or in a setting other than the published one, is
never called a reproduction, and values are compared with published ones in their own setting only.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.cases import (
    CONTRADICTED,
    OPEN,
    PAPER,
    REPRODUCED,
    SMALLER,
    SUPPORTED,
    Case,
    check_named,
    counted,
    examine,
    gather,
    published_effect,
)
from reprood.audit.comparisons import Finding, places
from reprood.audit.explanations import MORE, corrected, explain, few_members, less_than_relevant, pattern
from reprood.audit.looks import Outcome, correct, given_up
from reprood.audit.papers import Paper
from reprood.audit.parts import parts_of
from reprood.config.looks import ALPHA, Look
from reprood.config.suite import Suite
from reprood.core.files import atomic_path

COLUMNS = (
    "paper", "claim", "statement", "ours", "exploratory", "kind", "benchmark", "metric", "split", "first", "second",
    "value_first", "value_second", "effect", "low", "high", "level", "standard_error", "freedom", "sample_error",
    "sample_freedom", "p", "p_smaller", "p_holm", "margin", "relevant", "better", "look", "looks", "n_seeds", "n",
    "n_ood", "scale", "verdict", "reason", "below_chance", "published_effect", "published_source", "excludes_published",
    "comparable", "differences",
)  # fmt: skip


def name_of(holds: bool | None, scale: str) -> str:
    """Return the name of a verdict; "reproduced" is only used at the paper's scale."""
    if holds is None:
        return OPEN
    if not holds:
        return CONTRADICTED
    return REPRODUCED if scale == PAPER else SUPPORTED


def _measured(case: Case, look: Look, finding: Finding) -> dict[str, Any]:
    """Return the columns that a finding fills."""
    claim, interval = case.claim, finding.interval
    effect, source = published_effect(claim, case.paper, finding.step)
    excludes = "" if math.isnan(effect) else "no" if interval.low <= effect <= interval.high else "yes"
    over_sets = claim.kind == "signs" and claim.over == "sets"
    return {
        "first": finding.sides[0], "second": finding.sides[1],
        "value_first": finding.values[0], "value_second": finding.values[1],
        "effect": interval.estimate, "low": interval.low, "high": interval.high, "level": interval.level,
        "standard_error": interval.standard_error, "freedom": interval.freedom,
        "sample_error": interval.sample_error, "sample_freedom": interval.sample_freedom,
        "n": interval.n_id, "n_ood": interval.n_ood, "below_chance": "; ".join(finding.below_chance),
        "look": look.number, "n_seeds": min(case.row["n_seeds"], look.replicates),
        "split": finding.where if over_sets else case.row["split"],
        "better": finding.better or claim.better,
        "published_effect": effect, "published_source": source, "excludes_published": excludes,
    }  # fmt: skip


def finish(case: Case, outcome: Outcome, suite: Suite, family: int) -> dict[str, Any]:
    """Return the row of a verdict.

    Parameters
    ----------
    case : Case
        The claim on one benchmark, family or study.
    outcome : Outcome
        What the corrected p values say.
    suite : Suite
    family : int
        Number of claims in the correction; 0 for an exploratory claim, which is not corrected.
    """
    row, judged, claim = dict(case.row), case.judged, case.claim
    if family and case.possible:
        row["p_holm"] = outcome.p
    if judged is None:
        return row
    look, finding = judged.reported(smaller=outcome.smaller)
    row |= _measured(case, look, finding)
    at = f"look {look.number} of {row['looks']} ({look.replicates} replicates)" if look.number else ""
    if "verdict" in row:
        row["reason"] += f"; {at}" if at else ""
        return row
    row |= {"p": judged.p, "p_smaller": judged.p_smaller if claim.relevant else math.nan}
    if claim.kind == "signs":
        reason = pattern(claim, finding.holds, finding.interval, finding.where, finding.each)
    else:
        reason = explain(claim, finding.holds, finding.interval, finding.values[1], finding.sides)
    if outcome.decided:
        verdict = name_of(finding.holds, row["scale"])
        if inside := finding.p_smaller < 1 - finding.interval.level and less_than_relevant(
            claim, finding.interval, False
        ):
            reason += f"; it {inside}"
    elif outcome.smaller:
        inside = less_than_relevant(claim, finding.interval, True)
        verdict, reason = SMALLER, f"the {100 * look.level:g} % interval {inside}"
    else:
        verdict = OPEN
        if judged.p < ALPHA:
            reason += f"; but {corrected(finding.p, look, judged.p, outcome.p, family)}"
        few = few_members(finding.interval) if finding.interval.freedom < look.replicates - 1 else ""
        futile = given_up(claim, judged, suite.evidence) if suite.evidence is not None and look.number else ""
        if futile:
            reason = f"{futile}; {reason.removesuffix(MORE)}"
        elif look.number and look.number == row["looks"] and MORE in reason:
            reason = reason.replace(MORE, f"; undecided at the last look{few}")
        elif few:
            reason = reason.replace(MORE, few)
    if verdict != OPEN:
        reason += (
            f"; corrected for {family} main claims (p = {outcome.p:.2g})"
            if family > 1
            else ""
            if family
            else "; exploratory: not corrected for multiple testing"
        )
    others = [text for text in (at, case.elsewhere) if text]
    return row | {"verdict": verdict, "reason": "; ".join([reason, *others])}


def judge_paper(cases: Sequence[tuple[Case, bool]], suite: Suite) -> list[dict[str, Any]]:
    """Correct the main claims of a paper together and return the rows of all its cases.

    Parameters
    ----------
    cases : sequence of (Case, bool)
        In the order of the rows; True for the one case of a main claim that counts.
    suite : Suite
    """
    family = [case for case, counts in cases if counts and case.possible]
    outcomes = iter(correct([case.tested for case in family]))
    rows = []
    for case, counts in cases:
        if counts and case.possible:
            rows.append(finish(case, next(outcomes), suite, len(family)))
        else:
            rows.append(finish(case, correct([case.tested])[0], suite, 0))
    return rows


def audit(
    suite: Suite,
    papers: Sequence[Paper],
    root: Path,
    studies: Path,
    out: Path,
    progress: Callable[[str], None] = lambda line: None,
    *,
    main_only: bool = False,
) -> pd.DataFrame:
    """Judge every claim on every benchmark that ran its methods, and write `verdicts.csv`.

    A main claim counts on one benchmark: that of `Suite.judge`, else the first that runs its arms and measures it. On
    further ones it is exploratory.

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
    main_only : bool
        Leave out the exploratory claims, whose runs a compact release does not hold. Verdicts of main claims do not
        depend on them.

    Returns
    -------
    DataFrame
        The rows as written. The same predictions give the same bytes.
    """
    rows: list[dict[str, Any]] = []
    check_named(suite, papers, [one.name for one in gather(suite, root, studies)])
    for paper in papers:
        evidence = gather(suite, root, studies)  # per paper, to limit memory: evidence caches predictions
        cases: list[tuple[Case, bool]] = []
        for claim in (one for one in paper.claims if not (main_only and one.exploratory)):
            of_claim: list[Case] = []
            for one in evidence:
                here = one.on_split(claim)
                parts = parts_of(here, paper, one.seeds) if one.measures(here) else None
                if parts is not None and claim.kind == "signs" and not places(here, one, parts):
                    parts = None
                if parts is not None:
                    of_claim.append(examine(here, paper, one, parts, suite))
            cases += counted(claim, paper, of_claim, suite)
        rows += judge_paper(cases, suite)
        for row in rows[len(rows) - len(cases) :]:
            progress(f"{row['paper']}/{row['claim']} on {row['benchmark'] or 'no benchmark'}: {row['verdict']}")
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    with atomic_path(out) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.10g")
    return table
