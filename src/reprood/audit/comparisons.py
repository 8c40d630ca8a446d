"""Compare the sides of a claim: effect, interval and p value on one benchmark, family or study."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reprood.audit.decide import LEVEL, judge, p_values, two_sided
from reprood.audit.evidence import BenchmarkEvidence, Evidence, Part
from reprood.audit.explanations import worse_than_chance
from reprood.audit.families import FamilyEvidence
from reprood.audit.papers import ANY, Claim, Paper, largest, unit
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates


@dataclass(frozen=True)
class Finding:
    """Result of comparing the sides of a claim.

    Attributes
    ----------
    holds : bool or None
        True: the interval supports the claim; False: it contradicts the claim; None: neither.
    interval : Interval
        Interval of first minus second (of the value itself for `equals`), cut to the possible range.
    sides : (str, str)
        Labels of the two sides.
    values : (float, float)
        Means over seeds of the two sides.
    p : float
        Two-sided p value: below 1 - level exactly when `holds` is True or False.
    p_strict : float
        The p value used for corrections for many comparisons.
    where : str
        The weakest member or OOD set, for a pattern of signs.
    better : str
        The claimed direction there.
    each : tuple of (str, bool or None)
        Result for each member or OOD set.
    step : int
        Which of the claim's steps is reported: the weakest. 0 unless the claim is an ordering.
    below_chance : tuple of str
        Labels of the sides that are worse than chance.
    """

    holds: bool | None
    interval: Interval
    sides: tuple[str, str]
    values: tuple[float, float]
    p: float
    p_strict: float
    where: str = ""
    better: str = ""
    each: tuple[tuple[str, bool | None], ...] = ()
    step: int = 0
    below_chance: tuple[str, ...] = ()


def generator_of(*names: str) -> np.random.Generator:
    """Return a generator seeded by names, so that a verdict does not depend on which other claims are judged."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big"))


def compare(names: Sequence[str], found: Replicates, pair: tuple[int, int], generator: np.random.Generator) -> Interval:
    """Return the interval of the difference of two sides; sides with equal names are paired by replicate."""
    weights = [0.0] * len(found.observed)
    weights[pair[0]], weights[pair[1]] = 1.0, -1.0
    return contrast(found, weights, generator, LEVEL, trainings=names)


@dataclass(frozen=True)
class Step:
    """One comparison of a claim that has several.

    Attributes
    ----------
    holds : bool or None
    interval : Interval
    p, p_strict : (float, float)
        One-sided p values against the negation of the step, and against the step.
    sides : (str, str)
    values : (float, float)
    better : str
        The claimed direction.
    where : str
        The member or OOD set, for a pattern of signs.
    """

    holds: bool | None
    interval: Interval
    p: tuple[float, float]
    p_strict: tuple[float, float]
    sides: tuple[str, str]
    values: tuple[float, float]
    better: str
    where: str = ""


def pieces(claim: Claim, evidence: Evidence, parts: Sequence[Part]) -> list[tuple[str, Evidence, list[Part]]]:
    """Return the members or OOD sets that a pattern of signs is judged on; empty for other claims."""
    if claim.over == "members" and isinstance(evidence, FamilyEvidence):
        prefix = f"{evidence.name}_"
        return [(member.name.removeprefix(prefix), member, list(parts)) for member in evidence.parts]
    if claim.over == "sets" and isinstance(evidence, BenchmarkEvidence):
        sets = evidence.members(claim.split)
        return [(name, evidence, [replace(part, split=name) for part in parts]) for name in sets]
    return []


def absent(claim: Claim, evidence: Evidence, parts: Sequence[Part]) -> str:
    """Describe the members or OOD sets that a pattern of signs names but that did not run; empty if all ran."""
    if claim.kind != "signs":
        return ""
    here = {name for name, _, _ in pieces(claim, evidence, parts)}
    missing = [name for name in claim.signs if name not in here and name != ANY]
    return f"the claim also names {', '.join(missing)}, which did not run here" if missing else ""


def find(claim: Claim, paper: Paper, evidence: Evidence, parts: Sequence[Part]) -> Finding:
    """Compute a claim's effect and interval on one benchmark, family or study."""
    generator = generator_of(paper.id, claim.id, evidence.name)
    top = largest(claim.metric, claim.study)
    if claim.kind == "signs":
        return _together(claim, _signs(claim, evidence, parts, generator))
    replicates = evidence.replicates(claim, parts, generator)
    means = [float(values.mean()) for values in replicates.observed]
    if claim.kind == "equals":
        interval = contrast(replicates, [1.0], generator, LEVEL)
        published = paper.number(claim.published[0]).as_measured * unit(claim.metric)
        holds = judge("equivalent", _shifted(interval, published), claim.better, claim.margin)
        gap = _shifted(interval, published)
        p, strict = (
            two_sided([p_values("equivalent", gap, claim.better, claim.margin, strict)]) for strict in (False, True)
        )
        below = (parts[0].label,) if worse_than_chance(claim.metric, means[0]) else ()
        return Finding(
            holds, interval.within(0, top), (parts[0].label, "published"), (means[0], published), p, strict,
            below_chance=below,
        )  # fmt: skip
    names = [evidence.training(part) for part in parts]
    steps = [
        _step(claim, compare(names, replicates, (i, i + 1), generator), parts[i : i + 2], means[i : i + 2])
        for i in range(len(parts) - 1)
    ]
    return _together(claim, steps)


def _signs(claim: Claim, evidence: Evidence, parts: Sequence[Part], generator: np.random.Generator) -> list[Step]:
    """Compare the sides on each member or OOD set that has a claimed sign."""
    steps = []
    for name, one, sides in pieces(claim, evidence, parts):
        sign = claim.signs.get(name, claim.signs.get(ANY))
        if sign is None:
            continue
        found = one.replicates(claim, sides, generator)
        means = [float(values.mean()) for values in found.observed]
        interval = compare([one.training(part) for part in sides], found, (0, 1), generator)
        direction = {"better": claim.better, "worse": "lower" if claim.better == "higher" else "higher"}[sign]
        steps.append(_step(claim.model_copy(update={"better": direction}), interval, parts, means, name))
    return steps


def _step(claim: Claim, interval: Interval, parts: Sequence[Part], means: Sequence[float], where: str = "") -> Step:
    return Step(
        judge(claim.kind, interval, claim.better, claim.margin),
        interval,
        p_values(claim.kind, interval, claim.better, claim.margin),
        p_values(claim.kind, interval, claim.better, claim.margin, strict=True),
        (parts[0].label, parts[1].label),
        (means[0], means[1]),
        claim.better,
        where,
    )


def _together(claim: Claim, steps: Sequence[Step]) -> Finding:
    """Combine steps: all must hold, or any may contradict the claim after correction; report the weakest."""
    p = two_sided([step.p for step in steps])
    if all(step.holds is True for step in steps):
        holds: bool | None = True
    else:
        denied = any(step.holds is False for step in steps)
        holds = False if denied and p < 1 - LEVEL else None
    place = max(range(len(steps)), key=lambda i: steps[i].p[0])
    weakest, top = steps[place], largest(claim.metric, claim.study)
    each = tuple((step.where, step.holds) for step in steps if step.where)
    strict = two_sided([step.p_strict for step in steps])
    sides = [pair for step in steps for pair in zip(step.sides, step.values, strict=True)]
    below = dict.fromkeys(label for label, value in sides if worse_than_chance(claim.metric, value))
    return Finding(
        holds, weakest.interval.within(-top, top), weakest.sides, weakest.values, p, strict, weakest.where,
        weakest.better, each, place if claim.kind == "ordering" else 0, tuple(below),
    )  # fmt: skip


def _shifted(found: Interval, by: float) -> Interval:
    return Interval(
        found.estimate - by, found.low - by, found.high - by, found.level, found.standard_error, found.replicates,
        found.n_seeds, found.n_id, found.n_ood, found.freedom, found.strict_freedom,
    )  # fmt: skip
