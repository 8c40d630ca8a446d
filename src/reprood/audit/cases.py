"""A claim on one benchmark, family or study, before the correction for many claims; which of them counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprood.audit.claims import PLAIN, Claim, unit
from reprood.audit.comparisons import absent, common, measure
from reprood.audit.decide import LEVEL
from reprood.audit.evidence import BenchmarkEvidence, Evidence
from reprood.audit.families import FamilyEvidence
from reprood.audit.looks import Judged, judge_at, stages
from reprood.audit.papers import Paper
from reprood.audit.parts import Part
from reprood.audit.published import SOURCE_WORDS
from reprood.audit.regime import unrepresentative
from reprood.audit.settings import attached, major, texts
from reprood.audit.studies import StudyEvidence
from reprood.config.selection import ONLY_MAIN
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.detectors.registry import ALWAYS
from reprood.detectors.registry import names as detector_names

REDUCED, PAPER = "reduced", "paper"
REPRODUCED, SUPPORTED, CONTRADICTED = "reproduced", "supported at reduced scale", "contradicted"
SMALLER, OPEN, GATED = "smaller than relevant", "open", "baseline not representative"
NOT_JUDGED, NOT_RUN = "not judged at this scale", "not run"
UNFIT = {"network": "this network", "data": "on this data set"}  # why a claim with `requires` is not judged
VERDICTS = (REPRODUCED, SUPPORTED, CONTRADICTED, SMALLER, OPEN, GATED, NOT_JUDGED, NOT_RUN)


@dataclass(frozen=True)
class Case:
    """A claim on one benchmark, family or study, before the correction for many claims.

    Attributes
    ----------
    claim, paper : Claim, Paper
    row : dict
        The columns that are known; with a verdict and a reason if these do not depend on the measured effect.
    judged : Judged or None
        The findings; None if nothing was measured.
    elsewhere : str
        How the setting differs from the published one, in a suite at the paper's scale.
    """

    claim: Claim
    paper: Paper
    row: dict[str, Any]
    judged: Judged | None = None
    elsewhere: str = ""

    @property
    def possible(self) -> bool:
        """Whether this suite could ever decide the claim here, whatever the results."""
        return self.row.get("verdict") != NOT_JUDGED

    @property
    def tested(self) -> Judged | None:
        """The findings, unless the verdict does not depend on them."""
        return None if "verdict" in self.row else self.judged


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
    read = [SOURCE_WORDS["recalled"]] if unverified else [number.read for number in numbers]
    sources = [f"{number.where}: {number.setting}" for number in numbers]  # a baseline may be in another table
    where = f"{' and '.join(dict.fromkeys(sources))}; {' and '.join(dict.fromkeys(read))}"
    return round(value * unit(claim.metric), 8), where


def _begin(claim: Claim, paper: Paper, benchmark: str, labels: Sequence[str], suite: Suite) -> dict[str, Any]:
    """Return the columns of a verdict that are known before anything is measured."""
    effect, source = published_effect(claim, paper)
    return {
        "paper": paper.id, "claim": claim.id, "statement": claim.statement, "ours": claim.ours,
        "exploratory": claim.exploratory, "kind": claim.kind, "benchmark": benchmark,
        "metric": claim.metric, "split": claim.split, "first": labels[0],
        "second": labels[1] if len(labels) > 1 else "published", "margin": claim.margin, "relevant": claim.relevant,
        "better": claim.better, "level": LEVEL, "look": 0,
        "looks": 0 if suite.evidence is None else len(suite.evidence.looks), "n_seeds": 0, "scale": suite.scale,
        "below_chance": "", "published_effect": effect, "published_source": source, "excludes_published": "",
        "comparable": False, "differences": "",
    }  # fmt: skip


def examine(claim: Claim, paper: Paper, evidence: Evidence, parts: Sequence[Part], suite: Suite) -> Case:
    """Compare the sides of a claim on one benchmark, family or study at every look that is reached."""
    others = evidence.differences(claim, paper, parts)
    elsewhere = texts(major(others)) if suite.scale == PAPER else ""
    row = _begin(claim, paper, evidence.name, [part.label for part in parts], suite)
    row["scale"] = REDUCED if elsewhere else suite.scale
    from_numbers = evidence.from_numbers(claim, paper, parts)
    row["differences"] = texts(from_numbers if claim.published else others)
    row["comparable"] = attached(from_numbers)
    seeds = common(evidence.seeds, parts)
    row["n_seeds"] = len(seeds)

    def settled(verdict: str, reason: str, judged: Judged | None = None) -> Case:
        return Case(claim, paper, row | {"verdict": verdict, "reason": reason}, judged)

    if claim.kind == "equals" and (row["scale"] == REDUCED or not attached(from_numbers)):
        reason = elsewhere or texts(from_numbers) or "published values are compared only at the paper's scale"
        return settled(NOT_JUDGED, reason)
    unfit = {one.kind for one in others} & set(claim.requires)
    if unfit:
        what = UNFIT["network" if "network" in unfit else "data"]
        return settled(NOT_JUDGED, f"this {_which(suite, claim)} does not train {what}")
    schedules = [steps for part in parts if claim.min_steps and (steps := evidence.steps(part.method)) is not None]
    short = min(schedules, default=claim.min_steps)
    if short < claim.min_steps:
        return settled(
            NOT_JUDGED, f"trained too briefly to test: {short:,} updates here, at least {claim.min_steps:,} are needed"
        )
    missing = absent(claim, evidence, parts)
    if missing:
        return settled(OPEN, missing)
    looks = stages(suite.evidence, len(seeds), fixed=bool(claim.study)) if seeds else ()
    if not looks:
        first = suite.evidence.looks[0] if suite.evidence else claim.min_seeds
        return settled(OPEN, f"{len(seeds)} of {first} replicates for the first look")
    used = seeds[: looks[-1].replicates]
    row["look"] = looks[-1].number
    obstacle = evidence.obstacle(claim, parts, used, lambda method: _label(method, paper, suite))
    if obstacle:
        return settled(OPEN, f"on {_title(evidence.name, suite)}, {obstacle}")
    pieces = measure(claim, paper, evidence, parts, used)
    fewest = min(len(piece.seeds) for piece in pieces)
    judged = judge_at(claim, paper, pieces, used, looks)
    row["n_seeds"] = fewest
    if judged is None or (looks[-1].number == 0 and fewest < claim.min_seeds):
        of = " of a member" if claim.over == "members" else ""
        reason = f"too few replicates{of}: {fewest} here, the test needs {claim.min_seeds}"
        return settled(OPEN, reason, judged)
    if claim.gate and claim.kind != "equals" and row["scale"] == REDUCED:
        regime = evidence.regime(claim, parts[-1], used)
        named = parts[-1].score not in ("-", ALWAYS) and claim.metric not in PLAIN
        baseline = _label(parts[-1].method, paper, suite) + (f" (score {parts[-1].score})" if named else "")
        reason = unrepresentative(claim, baseline, regime) if regime is not None else ""
        if reason:
            return settled(GATED, reason, judged)
    return Case(claim, paper, row, judged, elsewhere)


def gather(suite: Suite, root: Path, studies: Path) -> list[Evidence]:
    """Collect what claims can be judged on, in the order of the runs: benchmarks and families; then studies."""
    seeds: dict[str, dict[str, list[int]]] = {}
    for benchmark, method, seed in suite.jobs():
        seeds.setdefault(benchmark, {}).setdefault(method, []).append(seed)
    found: dict[str, list[BenchmarkEvidence]] = {}
    for name, methods in seeds.items():
        record = suite.benchmarks[name]
        found.setdefault(record.family or name, []).append(
            BenchmarkEvidence(root, name, record, methods, suite.folders, suite.substitutes)
        )
    families = suite.families()
    for name in families:
        _check_distinct(name, found.get(name, ()))
    ran: list[Evidence] = [
        FamilyEvidence(
            name,
            sorted(members, key=lambda one: families[name].index(one.name)),
            suite.fixed_members(name),
        )
        if name in families
        else members[0]
        for name, members in found.items()
    ]
    return [*ran, *(StudyEvidence(name, one.use, studies / name / "values.csv") for name, one in suite.studies.items())]


def _check_distinct(family: str, members: Sequence[BenchmarkEvidence]) -> None:
    """Raise ReproodError if two fixed members of a family are the same images, labels and settings.

    Their replicates would be counted as independent ones. Random splits may coincide: they are drawn with replacement.
    """
    seen: dict[tuple[str, str], str] = {}
    for one in members:
        if one.benchmark.replicate is not None or not one.data():
            continue
        own = {"title", "note", "train", "validation", "test", "member"}
        key = (one.data(), one.benchmark.model_dump_json(exclude=own))
        if key in seen:
            raise ReproodError(
                f"The members {seen[key]} and {one.name} of the family {family} hold the same images and labels, so "
                "their replicates would count twice; take one of them out of the suite."
            )
        seen[key] = one.name


def check_named(suite: Suite, papers: Sequence[Paper], names: Sequence[str]) -> None:
    """Raise ReproodError if `judge` names an unknown claim, or a benchmark without runs."""
    claims = {f"{paper.id}/{claim.id}" for paper in papers for claim in paper.claims}
    known = {paper.id for paper in papers}
    for claim, name in suite.judge.items():
        if claim.partition("/")[0] in known and claim not in claims:
            raise ReproodError(f"The suite's 'judge' names the claim '{claim}', which no paper has; correct its name.")
        if name not in names and not suite.selection:
            raise ReproodError(
                f"The suite's 'judge' names '{name}' for the claim {claim}; expected a benchmark or family that runs: "
                f"{', '.join(names)}."
            )


def counted(claim: Claim, paper: Paper, cases: Sequence[Case], suite: Suite) -> list[tuple[Case, bool]]:
    """Return a claim's cases, with the one that counts marked; one case for a claim that nothing could judge."""
    name = suite.judge.get(f"{paper.id}/{claim.id}")
    possible = [case for case in cases if case.possible]
    if name is None and not possible and cases:
        return [(_once(cases), False)]
    main = next((case for case in possible if name is None or case.row["benchmark"] == name), None)
    main = main or next((case for case in cases if case.row["benchmark"] == name), None)
    if main is None:
        main = _not_run(claim, paper, suite)
    further = [replace(case, row=case.row | {"exploratory": True}) for case in possible if case is not main]
    order = {case.row["benchmark"]: place for place, case in enumerate(cases)}
    ordered = sorted([main, *further], key=lambda case: order.get(case.row["benchmark"], -1))
    counts = not claim.exploratory and not (claim.kind == "equals" and suite.scale == REDUCED)
    return [(case, counts and case is main) for case in ordered]


def _once(cases: Sequence[Case]) -> Case:
    """Return one case, without a benchmark if there are several, of a claim that no benchmark could judge."""
    if len(cases) < 2:
        return cases[0]
    reasons = {case.row["reason"] for case in cases}
    reason = reasons.pop() if len(reasons) == 1 else "no benchmark of this suite has the published setting"
    return replace(cases[0], row=cases[0].row | {"benchmark": "", "n_seeds": 0, "reason": reason})


def _not_run(claim: Claim, paper: Paper, suite: Suite) -> Case:
    ran = {method for _, method, _ in suite.jobs()}
    if claim.study:
        what = f"the study {claim.study}"
    else:
        absent = sorted({side.method for side in claim.sides if paper.method_of(side.method, ran) is None})
        asked = {name for one in suite.benchmarks.values() for name in (ALWAYS, *one.detectors)}
        detectors = {side.score for side in claim.sides if side.score in detector_names()} - asked
        what = (
            "; ".join(_label(name, paper, suite) for name in absent)
            or "; ".join(f"the detector {name}" for name in sorted(detectors))
            or f"these methods on a benchmark that measures {claim.metric} on {claim.split}"
        )
    if f"{paper.id}/{claim.id}" in suite.judge:
        place = suite.judge[f"{paper.id}/{claim.id}"]
        what = f"the claim's methods and measurement on {_title(place, suite)}"
    row = _begin(claim, paper, "", [side.label for side in claim.sides], suite)
    reason = f"this {_which(suite, claim)} does not run {what}"
    return Case(claim, paper, row | {"verdict": NOT_RUN, "reason": reason})


def _which(suite: Suite, claim: Claim) -> str:
    """Return "selection" if the whole suite may run what a claim needs; that of main claims leaves none of them out."""
    whole = not suite.selection or (suite.selection == ONLY_MAIN and not claim.exploratory)
    return "suite" if whole else "selection"


def _title(place: str, suite: Suite) -> str:
    """Return the title of a benchmark, family or study in quotes; its name if the suite knows no title."""
    if place in suite.studies:
        return f"\u201c{suite.studies[place].title}\u201d"
    known = place in suite.benchmarks or place in suite.families()
    title = suite.record(place).title if known else suite.drawn.get(place, {}).get("title")
    return f"\u201c{title}\u201d" if title else place


def _label(method: str, paper: Paper, suite: Suite) -> str:
    """Return a method's name for readers: that of the suite, or of the paper if the suite has no such method."""
    if method in suite.methods:
        return suite.methods[method].label
    return paper.arms[method].means if method in paper.arms else method
