"""Why a verdict is what it is, in one clause; numbers in points (percent), whatever the metric's own unit."""

import math
from collections.abc import Sequence

from reprood.audit.papers import Claim, unit
from reprood.evaluate.bootstrap import Interval


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign; no sign when it rounds to zero; a dash when there is none."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def points(value: float, study: bool = False) -> str:
    """'1 point', '2.5 points'; a study's numbers have no such unit."""
    return f"{value:g}" if study else f"{value:g} point{'' if value == 1 else 's'}"


def explain(claim: Claim, holds: bool | None, interval: Interval, published: float) -> str:
    """The reason of a verdict that rests on an interval.

    Parameters
    ----------
    claim : Claim
    holds : bool or None
        What the interval says of the claim.
    interval : Interval
        In the metric's unit.
    published : float
        The published value in the metric's unit, for the kind `equals`.
    """
    one = unit(claim.metric)
    low, high, margin = interval.low / one, interval.high / one, round(claim.margin / one, 6)
    if claim.kind == "equals":
        where = f"the 95 % interval, {low:.2f} to {high:.2f} %"
        band = f"the margin of {points(margin)} around the published {published / one:.2f} %"
        says = {True: "lies within", False: "lies wholly outside", None: "is partly outside"}[holds]
        return f"{where}, {says} {band}" + (MORE if holds is None else "")
    of = "the weakest step" if claim.kind == "ordering" else "the difference"
    study = bool(claim.study)
    where = f"the 95 % interval of {of}, {signed(low, 2)} to {signed(high, 2)}" + ("" if study else " points")
    if claim.kind == "equivalent":
        says = {True: "lies within", False: "lies wholly outside", None: "is partly outside"}[holds]
        return f"{where}, {says} ±{points(margin, study)}" + (MORE if holds is None else "")
    # the bound in the direction of first minus second
    side = 1 if claim.better == "higher" else -1
    bound = side * margin if claim.kind in ("difference", "ordering") else -side * margin
    shown = "zero" if bound == 0 else ("+" if bound > 0 else "−") + points(abs(bound), study)
    if holds is None:
        return f"{where}, includes {shown}{MORE}"
    above = (side > 0) == holds
    return f"{where}, lies {'above' if above else 'below'} {shown}" + ("" if holds else ", against the claim")


def pattern(
    claim: Claim, holds: bool | None, interval: Interval, where: str, each: Sequence[tuple[str, bool | None]]
) -> str:
    """The reason of a verdict on a pattern of signs.

    Parameters
    ----------
    claim : Claim
    holds : bool or None
    interval : Interval
        Of the weakest member or OOD set, named `where`.
    each : sequence of (str, bool or None)
        What was found for every one of them.
    """
    one = unit(claim.metric)
    as_stated = sum(found is True for _, found in each)
    against = [name for name, found in each if found is False]
    told = f"{as_stated} of {len(each)} {'sets' if claim.over == 'sets' else 'members'} are as stated"
    if against:
        told += f", against it: {', '.join(against)}"
    ends = f"{signed(interval.low / one, 2)} to {signed(interval.high / one, 2)}"
    return (
        f"{told}; the weakest, {where}, has the 95 % interval {ends}"
        + ("" if claim.study else " points")
        + (MORE if holds is None else "")
    )


MORE = ": more seeds or test images are needed"
