"""Compare the sides of a claim: effect, interval and p value on one benchmark, family or study."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reprood.audit.claims import ANY, Claim, largest, unit
from reprood.audit.decide import judge, p_inside, p_values, two_sided
from reprood.audit.evidence import BenchmarkEvidence, Evidence
from reprood.audit.explanations import worse_than_chance
from reprood.audit.families import FamilyEvidence
from reprood.audit.papers import Paper
from reprood.audit.parts import Part
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates


@dataclass(frozen=True)
class Finding:
    """Result of comparing the sides of a claim at one look.

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
    p_smaller : float
        Twice the p value of the two one-sided tests that the effect (of every step) is smaller than relevant; 1 for
        claims without a relevant effect. Below 1 - level exactly when the intervals lie inside.
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
    p_smaller: float = 1.0
    where: str = ""
    better: str = ""
    each: tuple[tuple[str, bool | None], ...] = ()
    step: int = 0
    below_chance: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """The measured values of a claim's sides: on a benchmark, family or study, or on one member or OOD set of it.

    Attributes
    ----------
    parts : tuple of Part
    pairing : tuple of str
        One name a side; sides with equal names are paired by replicate.
    seeds : tuple of int
        Replicates, ascending.
    found : Replicates
    better : str
        The claimed direction here.
    where : str
        The member or OOD set, for a pattern of signs.
    """

    parts: tuple[Part, ...]
    pairing: tuple[str, ...]
    seeds: tuple[int, ...]
    found: Replicates
    better: Literal["higher", "lower"]
    where: str = ""

    def only(self, seeds: Sequence[int]) -> "Piece":
        """Return the piece with those of its replicates that are among `seeds`."""
        places = [i for i, seed in enumerate(self.seeds) if seed in seeds]
        return replace(self, seeds=tuple(self.seeds[i] for i in places), found=self.found.chosen(places))


def generator_of(*names: str) -> np.random.Generator:
    """Return a generator seeded by names, so that a verdict does not depend on which other claims are judged."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big"))


def common(seeds: Mapping[str, Sequence[int]], parts: Sequence[Part]) -> tuple[int, ...]:
    """Return the replicates that all sides of a claim have, ascending."""
    return tuple(sorted(set.intersection(*(set(seeds[part.method]) for part in parts))))


def places(claim: Claim, evidence: Evidence, parts: Sequence[Part]) -> list[tuple[str, Evidence, list[Part]]]:
    """Return the members or OOD sets that a pattern of signs is judged on; empty for other claims."""
    if claim.over == "members" and isinstance(evidence, FamilyEvidence):
        prefix = f"{evidence.name}_"
        here = [member for member in evidence.parts if all(part.method in member.seeds for part in parts)]
        return [(member.name.removeprefix(prefix), member, list(parts)) for member in here]
    if claim.over == "sets" and isinstance(evidence, BenchmarkEvidence | FamilyEvidence):
        sets = evidence.members(claim.split)
        return [(name, evidence, [replace(part, split=name) for part in parts]) for name in sets]
    return []


def absent(claim: Claim, evidence: Evidence, parts: Sequence[Part]) -> str:
    """Describe the members or OOD sets that a pattern of signs names but that did not run; empty if all ran."""
    if claim.kind != "signs":
        return ""
    here = {name for name, _, _ in places(claim, evidence, parts)}
    missing = [name for name in claim.signs if name not in here and name != ANY]
    return f"the claim also names {', '.join(missing)}, which did not run here" if missing else ""


def measure(claim: Claim, paper: Paper, evidence: Evidence, parts: Sequence[Part], seeds: Sequence[int]) -> list[Piece]:
    """Compute the metric of every side and replicate, on the data and on resampled test samples.

    One piece, or one for each member or OOD set that has a claimed sign.
    """
    generator = generator_of(paper.id, claim.id, evidence.name)
    if claim.kind != "signs":
        found = evidence.replicates(claim, parts, generator, seeds)
        pairing = tuple(evidence.pairing(claim, part) for part in parts)
        return [Piece(tuple(parts), pairing, tuple(seeds), found, claim.better)]
    pieces = []
    opposite: Literal["higher", "lower"] = "lower" if claim.better == "higher" else "higher"
    for name, one, sides in places(claim, evidence, parts):
        sign = claim.signs.get(name, claim.signs.get(ANY))
        own = tuple(seed for seed in common(one.seeds, sides) if seed in seeds)
        if sign is not None and own:
            found = one.replicates(claim, sides, generator, own)
            pairing = tuple(one.pairing(claim, part) for part in sides)
            pieces.append(
                Piece(tuple(parts), pairing, own, found, claim.better if sign == "better" else opposite, name)
            )
    return pieces


def find(claim: Claim, paper: Paper, pieces: Sequence[Piece], level: float) -> Finding:
    """Compute a claim's effect, interval and p value from its measured values."""
    top = largest(claim.metric, claim.study)
    if claim.kind == "equals":
        return _value(claim, paper, pieces[0], level)
    steps = [_step(claim, piece, i, level) for piece in pieces for i in range(len(piece.parts) - 1)]
    p = two_sided([step.p for step in steps])
    if all(step.holds is True for step in steps):
        holds: bool | None = True
    else:  # one contradicts the claim only after correction for their number
        holds = False if any(step.holds is False for step in steps) and p < 1 - level else None
    place = max(range(len(steps)), key=lambda i: steps[i].p[0])
    weakest = steps[place]
    smaller = max(p_inside(step.interval, claim.relevant) for step in steps) if claim.relevant else 1.0
    sides = [pair for step in steps for pair in zip(step.sides, step.values, strict=True)]
    below = dict.fromkeys(label for label, value in sides if worse_than_chance(claim.metric, value))
    return Finding(
        holds, weakest.interval.within(-top, top), weakest.sides, weakest.values, p, min(1.0, 2 * smaller),
        weakest.where, weakest.better, tuple((step.where, step.holds) for step in steps if step.where),
        place if claim.kind == "ordering" else 0, tuple(below),
    )  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """One comparison of a claim that may have several; `p` as `decide.p_values` returns them."""

    holds: bool | None
    interval: Interval
    p: tuple[float, float]
    sides: tuple[str, str]
    values: tuple[float, float]
    better: str
    where: str


def _step(claim: Claim, piece: Piece, first: int, level: float) -> _Step:
    """Compare a side with the next one."""
    found, used = piece.found, slice(first, first + 2)
    pair = replace(found, observed=found.observed[used], resampled=found.resampled[used])
    interval = contrast(pair, [1.0, -1.0], level, piece.pairing[used])
    values = [float(side.mean()) for side in pair.by_unit().observed]
    return _Step(
        judge(claim.kind, interval, piece.better, claim.margin),
        interval,
        p_values(claim.kind, interval, piece.better, claim.margin),
        (piece.parts[first].label, piece.parts[first + 1].label),
        (values[0], values[1]),
        piece.better,
        piece.where,
    )


def _value(claim: Claim, paper: Paper, piece: Piece, level: float) -> Finding:
    """Compare the value of the only side with the published one."""
    interval = contrast(piece.found, [1.0], level)
    published = paper.number(claim.published[0]).as_measured * unit(claim.metric)
    gap = replace(
        interval,
        estimate=interval.estimate - published,
        low=interval.low - published,
        high=interval.high - published,
    )
    label = piece.parts[0].label
    return Finding(
        judge("equivalent", gap, claim.better, claim.margin),
        interval.within(0, largest(claim.metric)),
        (label, "published"),
        (interval.estimate, published),
        two_sided([p_values("equivalent", gap, claim.better, claim.margin)]),
        below_chance=(label,) if worse_than_chance(claim.metric, interval.estimate) else (),
    )
