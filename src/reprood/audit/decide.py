"""When an interval supports or denies a claim, with which p value; Holm's correction for several claims."""

from collections.abc import Sequence

from reprood.evaluate.bootstrap import Interval

LEVEL = 0.95
STRICT = ("difference", "ordering", "signs")  # kinds whose margin is a least difference, not a greatest loss


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
    threshold = margin if kind in STRICT else -margin
    return True if low > threshold else False if high < threshold else None


def p_values(kind: str, interval: Interval, better: str, margin: float, strict: bool = False) -> tuple[float, float]:
    """One-sided p values against what denies the claim and against what the claim says (see `judge`).

    With `strict` they hold far out, too, where a correction for many comparisons looks (`Interval.strict_freedom`).
    """
    if kind == "equivalent":  # two one-sided tests
        inside = max(interval.above(-margin, strict), interval.below(margin, strict))
        return inside, min(interval.below(-margin, strict), interval.above(margin, strict))
    threshold = margin if kind in STRICT else -margin
    if better == "lower":
        return interval.below(-threshold, strict), interval.above(-threshold, strict)
    return interval.above(threshold, strict), interval.below(threshold, strict)


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
