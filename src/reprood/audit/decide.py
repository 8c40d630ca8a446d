"""Decide whether an interval supports or contradicts a claim; p values and Holm's correction."""

from collections.abc import Sequence

from reprood.evaluate.bootstrap import Interval

LEVEL = 0.95
STRICT = ("difference", "ordering", "signs")  # kinds whose margin is a minimum gain, not a maximum loss


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
    if better == "lower":  # negate, so that higher is better
        low, high = -high, -low
    threshold = margin if kind in STRICT else -margin
    return True if low > threshold else False if high < threshold else None


def p_values(kind: str, interval: Interval, better: str, margin: float, strict: bool = False) -> tuple[float, float]:
    """Return one-sided p values: against the negation of the claim, and against the claim (see `judge`).

    With `strict` they are also valid in the far tails, which corrections for many comparisons use
    (`Interval.strict_freedom`).
    """
    if kind == "equivalent":  # two one-sided tests
        inside = max(interval.above(-margin, strict), interval.below(margin, strict))
        return inside, min(interval.below(-margin, strict), interval.above(margin, strict))
    threshold = margin if kind in STRICT else -margin
    if better == "lower":
        return interval.below(-threshold, strict), interval.above(-threshold, strict)
    return interval.above(threshold, strict), interval.below(threshold, strict)


def two_sided(steps: Sequence[tuple[float, float]]) -> float:
    """Return one p value for a claim of one or more steps: all must hold, or any may contradict it (Bonferroni)."""
    holds = max(step[0] for step in steps)
    denied = len(steps) * min(step[1] for step in steps)
    return min(1.0, 2 * min(holds, denied))


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted with Holm's step-down method, in the given order."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        found[i] = highest
    return found
