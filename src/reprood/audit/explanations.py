"""Explain verdicts in one clause; numbers are in points (percent), whatever the metric's own unit."""

import math
from collections.abc import Sequence

from reprood.audit.claims import Claim, unit
from reprood.audit.decide import threshold
from reprood.config.looks import ALPHA, Look
from reprood.evaluate.bootstrap import Interval

# the value of a detector that guesses, in the metric's own unit, and which side of it is worse
CHANCE = {"auroc": (0.5, -1), "pixel_auroc": (0.5, -1), "fpr95_id_positive": (0.95, 1), "fpr95_ood_positive": (0.95, 1)}


def worse_than_chance(metric: str, value: float) -> bool:
    """Return whether a detector is worse than a guess; False for metrics without such a value."""
    guess, worse = CHANCE.get(metric, (value, 1))
    return worse * (value - guess) > 0


def signed(value: float, digits: int = 1) -> str:
    """Format a difference with its sign; without sign if it rounds to zero; a dash for NaN."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def points(value: float, study: bool = False) -> str:
    """Format a number of points: '1 point', '2.5 points'; numbers of studies have no unit."""
    return f"{value:g}" if study else f"{value:g} point{'' if value == 1 else 's'}"


def explain(claim: Claim, holds: bool | None, interval: Interval, published: float, sides: Sequence[str] = ()) -> str:
    """Return the reason of a verdict that is based on an interval.

    Parameters
    ----------
    claim : Claim
        The claim.
    holds : bool or None
        Whether the interval supports (True) or contradicts (False) the claim.
    interval : Interval
        In the metric's unit.
    published : float
        The published value in the metric's unit, for the kind `equals`.
    sides : sequence of str
        The two sides of the weakest step, for the kind `ordering`.
    """
    one = unit(claim.metric)
    low, high, margin = interval.low / one, interval.high / one, round(claim.margin / one, 6)
    if claim.kind == "equals":
        where = f"the {100 * interval.level:g} % interval, {low:.2f} to {high:.2f} %"
        band = f"the margin of {points(margin)} around the published {published / one:.2f} %"
        says = {True: "lies within", False: "lies entirely outside", None: "is partly outside"}[holds]
        return f"{where}, {says} {band}" + (MORE if holds is None else "")
    of = "the difference"
    if claim.kind == "ordering":
        of = f"the weakest step, {' against '.join(sides)}" if sides else "the weakest step"
    study = bool(claim.study)
    where = f"the {100 * interval.level:g} % interval of {of}, {signed(low, 2)} to {signed(high, 2)}" + (
        "" if study else " points"
    )
    if claim.kind == "equivalent":
        says = {True: "lies within", False: "lies entirely outside", None: "is partly outside"}[holds]
        return f"{where}, {says} ±{points(margin, study)}" + (MORE if holds is None else "")
    bound = threshold(claim.kind, claim.better, margin)
    shown = "zero" if bound == 0 else ("+" if bound > 0 else "−") + points(abs(bound), study)
    if holds is None and not low <= bound <= high:  # of several steps: each could contradict the claim
        side = "above" if low > bound else "below"
        return f"{where}, lies {side} {shown}; corrected for the number of steps it is not significant"
    if holds is None:
        return f"{where}, includes {shown}{MORE}"
    above = (claim.better == "higher") == holds
    return f"{where}, lies {'above' if above else 'below'} {shown}" + ("" if holds else ", against the claim")


def pattern(
    claim: Claim, holds: bool | None, interval: Interval, where: str, each: Sequence[tuple[str, bool | None]]
) -> str:
    """Return the reason of a verdict on a pattern of signs.

    Parameters
    ----------
    claim : Claim
        The claim.
    holds : bool or None
        Whether the data support (True) or contradict (False) the claim.
    interval : Interval
        Of the weakest member or OOD set.
    where : str
        Name of the weakest member or OOD set.
    each : sequence of (str, bool or None)
        Result for each member or OOD set.
    """
    one = unit(claim.metric)
    as_stated = sum(result is True for _, result in each)
    against = [name for name, result in each if result is False]
    summary = f"shown on {as_stated or 'none'} of {len(each)} {'OOD sets' if claim.over == 'sets' else 'members'}"
    if as_stated < len(each):
        summary += f", contradicted on {', '.join(against) or 'none'}"
    ends = f"{signed(interval.low / one, 2)} to {signed(interval.high / one, 2)}"
    return (
        f"{summary}; weakest on {where} ({100 * interval.level:g} % interval {ends}"
        + (")" if claim.study else " points)")
        + (MORE if holds is None else "")
    )


def less_than_relevant(claim: Claim, interval: Interval, with_ends: bool) -> str:
    """Return the clause on an interval within the relevant effect, with its ends if asked; empty without one."""
    if not claim.relevant:
        return ""
    one = unit(claim.metric)
    smallest = points(round(claim.relevant / one, 6), bool(claim.study))
    ends = f" ({signed(interval.low / one, 2)} to {signed(interval.high / one, 2)})" if with_ends else ""
    return f"lies within ±{smallest}, the smallest effect that we call relevant{ends}"


def corrected(p: float, look: Look, shared: float, adjusted: float, family: int) -> str:
    """Return why an interval that decides is not enough: p of the look, divided by its share, and after Holm's method.

    Examples
    --------
    >>> corrected(0.0012, Look(1, 5, 0.1), 0.012, 0.064, 6)
    "it is not significant after correction for 6 main claims: p = 0.0012, divided by this look's share of 10 % it is \
0.012, and Holm's method, which shares its level with tests of 'smaller than relevant', makes it 0.064, above 0.05"
    """
    parts = f", divided by this look's share of {100 * look.weight:g} % it is {shared:.2g}" if look.number else ""
    return (
        f"it is not significant after correction for {family} main claims: p = {p:.2g}{parts}, and Holm's method, "
        f"which shares its level with tests of 'smaller than relevant', makes it {adjusted:.2g}, above {ALPHA:g}"
    )


def few_members(interval: Interval) -> str:
    """Say that an interval rests on a benchmark's few fixed members, which more replicates do not add to."""
    members = f"{round(interval.freedom) + 1} members ({interval.freedom:.0f} degrees of freedom)"
    return f"; the interval rests on the benchmark's {members}, so that more replicates hardly narrow it"


MORE = "; more seeds or test images are needed to decide"
