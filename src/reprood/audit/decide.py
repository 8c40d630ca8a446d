"""Decide whether an interval supports or contradicts a claim; p values and Holm's correction."""

from collections.abc import Mapping, Sequence
from typing import Any

from reprood.config.looks import ALPHA
from reprood.evaluate.bootstrap import Interval

LEVEL = 1 - ALPHA
BOUNDED = ("non_inferior", "equivalent")  # kinds that say that a difference is small
STRICT = ("difference", "ordering", "signs")  # kinds whose margin is a minimum gain, not a maximum loss


def threshold(kind: str, better: str, margin: float) -> float:
    """Return the difference that separates the values for which a claim of a direction holds from the others."""
    side = 1 if better == "higher" else -1
    return side * margin if kind in STRICT else -side * margin


def agrees(row: Mapping[Any, Any]) -> bool:
    """Return whether a measured effect, without its interval, is as the claim states, within its margin if it has one.

    Examples
    --------
    >>> agrees({"kind": "non_inferior", "better": "lower", "margin": 3.0, "effect": 0.2})
    True
    """
    if row["kind"] == "equivalent":
        return bool(abs(row["effect"]) < row["margin"])
    side = 1 if row["better"] == "higher" else -1
    return bool(side * (row["effect"] - threshold(row["kind"], row["better"], row["margin"])) > 0)


def judge(kind: str, interval: Interval, better: str, margin: float) -> bool | None:
    """Return whether an interval of first minus second agrees with a claim.

    Returns
    -------
    bool or None
        True: entirely inside the range that the claim allows; False: entirely outside; None: partly.
    """
    low, high = interval.low, interval.high
    if kind == "equivalent":
        return True if -margin < low and high < margin else False if high < -margin or low > margin else None
    bound = threshold(kind, better, margin)
    if low <= bound <= high:
        return None
    return (low > bound) == (better == "higher")


def p_values(kind: str, interval: Interval, better: str, margin: float) -> tuple[float, float]:
    """Return one-sided p values: against the negation of the claim, and against the claim (see `judge`)."""
    if kind == "equivalent":  # two one-sided tests
        return p_inside(interval, margin), min(interval.below(-margin), interval.above(margin))
    bound = threshold(kind, better, margin)
    if better == "lower":
        return interval.below(bound), interval.above(bound)
    return interval.above(bound), interval.below(bound)


def p_inside(interval: Interval, bound: float) -> float:
    """Return the p value of two one-sided tests that the value lies between -bound and +bound."""
    return max(interval.above(-bound), interval.below(bound))


def two_sided(steps: Sequence[tuple[float, float]]) -> float:
    """Return one p value for a claim of one or more steps: all must hold, or any may contradict it (Bonferroni)."""
    holds = max(step[0] for step in steps)
    denied = len(steps) * min(step[1] for step in steps)
    return min(1.0, 2 * min(holds, denied))


def holm(p: Sequence[float], beside: int = 0) -> list[float]:
    """Return p values adjusted with Holm's step-down method, in the given order.

    With `beside`, as many other hypotheses, at most one for each of the m p values, are tested one-sidedly at
    0.05 / (2 m), and the two of a pair are never true together: "the effect is zero" and "the effect is relevant". Then
    after r rejections the r claims may be among those whose other hypothesis is true, which takes up to
    0.05 r / (2 m); the factor m - r is therefore divided by 1 - r / (2 m), r at most `beside`. The sum of both kinds of
    errors stays at 5 %: with c claims of the second kind, m - c of the first are falsely rejected first at
    0.05 (1 - c / (2 m)) / (m - c) or below.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        reserve = 1 - min(rank, beside) / (2 * len(p))
        highest = max(highest, min(1.0, (len(p) - rank) * p[i] / reserve))
        found[i] = highest
    return found
