"""Intervals where resampling cannot give one: every resampled set separates as perfectly as the observed one.

An AUROC of 1 has no spread over bootstrap samples, but a network that separates 20 pairs may fail on the next one.
Pair each of k = min(n_id, n_ood) in-distribution samples with an OOD sample of its own: these pairs are independent,
and each is in the right order with a probability that is the AUROC. If all are, the exact interval of Clopper and
Pearson (The use of confidence or fiducial limits illustrated in the case of the binomial, Biometrika 26, 1934) is
[(a/2)^(1/k), 1] for an error level a. It holds for any continuous scores, and is wide because it uses k pairs only. An
FPR of 0 is that of as many trials as there are samples of the accepted kind, with the threshold taken as given.

Means over G sets take each set's bound at the level a / G (Bonferroni).
"""

import math
from collections.abc import Sequence

Sizes = tuple[int, int]  # numbers of in-distribution and OOD samples


def trials(metric: str, sizes: Sizes) -> int:
    """Return the number of independent trials that a metric of 0 or 1 rests on; 0 for metrics without such a count."""
    counts = {"auroc": min(sizes), "fpr95_id_positive": sizes[1], "fpr95_ood_positive": sizes[0]}
    return counts.get(metric, 0)


def slack(metric: str, sets: Sequence[Sizes], tail: float) -> float:
    """Return how far the mean over sets of a metric may be from its observed extreme (0 or 1).

    Parameters
    ----------
    metric : str
        A name of `reprood.metrics`.
    sets : sequence of (n_id, n_ood)
        One set, or those of a mean.
    tail : float
        Probability of an error, in (0, 1).

    Returns
    -------
    float
        In [0, 1]; NaN for AUPR and the detection error, for which no such bound is known.

    Examples
    --------
    >>> round(slack("auroc", [(50, 100)], 0.025), 3)  # 1 - 0.025^(1/50)
    0.071
    >>> slack("aupr_in", [(50, 100)], 0.025)
    nan
    """
    counts = [trials(metric, sizes) for sizes in sets]
    if not all(counts):
        return math.nan
    return float(sum(1 - (tail / len(counts)) ** (1 / count) for count in counts)) / len(counts)


def chance(metric: str, sets: Sequence[Sizes], distance: float) -> float:
    """Return the smallest `tail` whose `slack` is at most `distance`; 1 where no bound is known.

    Examples
    --------
    >>> round(chance("auroc", [(50, 100)], 0.1), 5)  # 0.9^50
    0.00515
    """
    low, high = 1e-30, 1.0
    if not slack(metric, sets, high) <= distance:
        return 1.0
    while high / low > 1 + 1e-9:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slack(metric, sets, middle) <= distance else (middle, high)
    return high


def extreme(values: Sequence[float]) -> float | None:
    """Return 0 or 1 if all values are that, else None."""
    found = set(values)
    return float(found.pop()) if found in ({0.0}, {1.0}) else None
