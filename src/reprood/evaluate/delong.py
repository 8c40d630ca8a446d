"""DeLong's variance of the AUROC in O(n log n): an analytic cross-check of the bootstrap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import Floats, checked


@dataclass(frozen=True)
class DeLong:
    """AUROC of M scores [M] and their covariance [M, M] over repeated draws of the test samples."""

    auroc: Floats
    covariance: Floats

    def difference(self, first: int = 0, second: int = 1, level: float = 0.95) -> tuple[float, float, float]:
        """(difference, low, high) of two of the scores, by the normal approximation."""
        value = float(self.auroc[first] - self.auroc[second])
        c = self.covariance
        half = float(stats.norm.ppf(0.5 + level / 2)) * float(
            np.sqrt(max(c[first, first] + c[second, second] - 2 * c[first, second], 0.0))
        )
        return value, value - half, value + half


def _placements(scores: Floats, others: Floats) -> Floats:
    """For each score the share of the others below it, ties counting one half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(below / (2.0 * len(others)))


def delong(in_distribution: ArrayLike, outlier: ArrayLike) -> DeLong:
    """AUROC and covariance (DeLong, DeLong & Clarke-Pearson 1988) of one or several scores of the same samples.

    Parameters
    ----------
    in_distribution, outlier : array [n_id] or [M, n_id], [n_ood] or [M, n_ood]
        Scores, higher = more in-distribution; row m of both is the same detector.

    Raises
    ------
    ReproodError
        When a side has fewer than two samples, a score is not finite, or the numbers of rows differ.
    """
    first, second = np.atleast_2d(np.asarray(in_distribution, float)), np.atleast_2d(np.asarray(outlier, float))
    if len(first) != len(second) or min(first.shape[1], second.shape[1]) < 2:
        raise ReproodError(
            f"DeLong's variance needs as many scores and at least two samples on both sides, not shapes {first.shape} "
            f"and {second.shape}."
        )
    pairs = [(checked(a, "in-distribution"), checked(b, "OOD")) for a, b in zip(first, second)]
    of_id = np.array([_placements(a, b) for a, b in pairs])
    of_ood = np.array([1 - _placements(b, a) for a, b in pairs])
    covariance = np.atleast_2d(np.cov(of_id)) / of_id.shape[1] + np.atleast_2d(np.cov(of_ood)) / of_ood.shape[1]
    return DeLong(of_id.mean(axis=1), covariance)
