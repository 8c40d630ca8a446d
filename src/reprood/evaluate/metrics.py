"""One exact sort-based kernel for every detection metric. No torch.

Scores are confidences (higher = more in-distribution). They are sorted once; samples with equal scores enter together
and count one half. The kernel takes a count for every sample, so that a bootstrap replicate is the same sorting with
other counts. Nothing is clipped or flipped: an AUROC below 0.5 is a result.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprood.core.errors import ReproodError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVEL = 0.95
Workspace = dict[str, Integers]
_SHIFT = 32  # the count of ID samples in the upper half of a word, that of OOD samples in the lower
_LOWER = (1 << _SHIFT) - 1
_BLOCK = 4096


def checked(scores: ArrayLike, side: str) -> Floats:
    """Return scores as a one-dimensional float64 array, checked.

    Raises
    ------
    ReproodError
        When there are none, when the array is not one-dimensional, or when one is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ReproodError(f"The {side} scores have shape {values.shape}; expected one number per sample.")
    if values.size == 0:
        raise ReproodError(f"There are no {side} scores; a detection metric needs samples on both sides.")
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ReproodError(f"{bad} of {values.size} {side} scores are not finite; repair the score before evaluating.")
    return values


def _memory(work: Workspace, name: str, shape: tuple[int, ...]) -> Integers:
    """Return an array of this shape, kept in `work`: fresh pages for every replicate would cost more than the sums."""
    if name not in work or work[name].shape != shape:
        work[name] = np.empty(shape, np.int64)
    return work[name]


@dataclass(frozen=True)
class Ranking:
    """Two samples, sorted once from the highest score down.

    Attributes
    ----------
    order : int array [n_id + n_ood]
        Sample numbers (ID first, then OOD) in descending order of score.
    ends : int array [m] or None
        Last position of each distinct score; None when no two scores tie.
    thresholds : float array [m]
        The distinct scores, descending.
    n_id, n_ood : int
    """

    order: Integers
    ends: Integers | None
    thresholds: Floats
    n_id: int
    n_ood: int

    def counts(
        self, id_counts: Integers | None = None, ood_counts: Integers | None = None, work: Workspace | None = None
    ) -> "Counts":
        """Count how many samples of each side score at least each threshold.

        Parameters
        ----------
        id_counts, ood_counts : int array [..., n_id], [..., n_ood]
            How often each sample is in the (re)sample; default once. Leading axes are replicates.
        work : dict, optional
            Memory that is reused: the result is valid only until the next call with the same `work`.
        """
        of_id = np.ones(self.n_id, np.int64) if id_counts is None else id_counts
        of_ood = np.ones(self.n_ood, np.int64) if ood_counts is None else ood_counts
        work = {} if work is None else work
        shape = of_id.shape[:-1]
        packed = _memory(work, "packed", (*shape, self.n_id + self.n_ood))
        np.left_shift(of_id, _SHIFT, out=packed[..., : self.n_id])
        packed[..., self.n_id :] = of_ood
        total = _memory(work, "total", packed.shape)
        np.take(packed, self.order, axis=-1, out=total, mode="clip")
        np.cumsum(total, axis=-1, out=total)
        if self.ends is not None:
            total = np.take(total, self.ends, axis=-1, mode="clip")
        below = _memory(work, "below", total.shape)
        np.bitwise_and(total, _LOWER, out=below)
        total >>= _SHIFT
        return Counts(total, below)


@dataclass(frozen=True)
class Counts:
    """Cumulative counts over distinct thresholds, from strict to loose.

    Attributes
    ----------
    of_id, of_ood : int array [..., m]
        Number of ID and OOD samples with a score of at least the threshold; the last entries are the sample sizes.
    """

    of_id: Integers
    of_ood: Integers

    def at_base_rate(self, rate: Fraction) -> "Counts":
        """Weight both sides by integers so that OOD samples are a share `rate` of all; the ranking is unchanged.

        Equal to repeating every sample of a side equally often, so precisions are exact up to one division. Only the
        precisions change: every other metric depends on the rates within each side.

        Parameters
        ----------
        rate : Fraction
            n_ood / (n_id + n_ood) after weighting; in (0, 1). Outlier Exposure has 1/6 (one OOD image to five ID).

        Examples
        --------
        >>> counts = rank([0.9, 0.2], [0.5]).counts()
        >>> float(aupr_out(counts)), float(aupr_out(counts.at_base_rate(Fraction(1, 6))))
        (0.5, 0.2857142857142857)
        """
        n_id, n_ood = int(self.of_id.flat[-1]), int(self.of_ood.flat[-1])
        odds = rate / (1 - rate) * Fraction(n_id, n_ood)  # weight of an OOD sample over that of an ID sample
        return Counts(self.of_id * odds.denominator, self.of_ood * odds.numerator)


def rank(in_distribution: ArrayLike, outlier: ArrayLike) -> Ranking:
    """Sort two samples of scores together.

    Parameters
    ----------
    in_distribution, outlier : array [n_id], [n_ood]
        Scores, higher = more in-distribution.

    Raises
    ------
    ReproodError
        When a side is empty, not one-dimensional or not finite.

    Examples
    --------
    >>> rank([0.9, 0.8], [0.8, 0.1]).thresholds
    array([0.9, 0.8, 0.1])
    """
    first, second = checked(in_distribution, "in-distribution"), checked(outlier, "OOD")
    scores = np.concatenate([first, second])
    order = np.argsort(-scores)
    descending = scores[order]
    last = np.concatenate([descending[1:] != descending[:-1], [True]])
    if last.all():
        return Ranking(order, None, descending, first.size, second.size)
    ends = np.flatnonzero(last)
    return Ranking(order, ends, descending[ends], first.size, second.size)


def auroc(counts: Counts) -> Floats:
    """Return the area under the ROC curve, P(a > b) + 0.5 P(a = b) for an ID score a and an OOD score b; in [0, 1].

    The trapezoid rule over the ROC, summed in integers: exact up to one division.

    See Also
    --------
    detection_metrics : All metrics of two samples of scores.

    Examples
    --------
    >>> float(auroc(rank([0.9, 0.8], [0.8, 0.1]).counts()))
    0.875
    """
    of_id, of_ood = counts.of_id, counts.of_ood
    pairs = of_id[..., -1] * of_ood[..., -1]
    crossed = _dot(of_id[..., 1:], of_ood[..., :-1]) - _dot(of_id[..., :-1], of_ood[..., 1:])
    return np.asarray((pairs - crossed) / (2.0 * pairs))


def _dot(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.einsum("...k,...k->...", first, second))


def aupr_in(counts: Counts) -> Floats:
    """Return the average precision sum (R_k - R_{k-1}) P_k with ID positive, ranked by the score.

    It depends on n_id : n_ood; see `Counts.at_base_rate` for a stated ratio.

    See Also
    --------
    reprood.evaluate.variants.trapezoid_aupr : The area by the trapezoid rule, as OpenOOD computes it.

    Examples
    --------
    >>> float(aupr_in(rank([0.9, 0.2], [0.5]).counts()))
    0.8333333333333333
    """
    of_id, of_ood = counts.of_id, counts.of_ood
    first = of_id[..., 0] * _share(of_id[..., 0], of_ood[..., 0])
    rest = _gained(of_id[..., :-1], of_id[..., 1:], of_id[..., 1:], of_ood[..., 1:])
    return np.asarray((first + rest) / of_id[..., -1])


def aupr_out(counts: Counts) -> Floats:
    """Return the average precision sum (R_k - R_{k-1}) P_k with OOD positive, ranked by minus the score.

    It depends on n_id : n_ood; see `Counts.at_base_rate` for a stated ratio.

    Examples
    --------
    >>> float(aupr_out(rank([0.9, 0.2], [0.5]).counts()))
    0.5
    """
    n_id, n_ood = counts.of_id[..., -1:], counts.of_ood[..., -1:]
    # At most threshold k are all samples but those above it, which are the ones counted at k - 1.
    id_at_most, ood_at_most = n_id - counts.of_id[..., :-1], n_ood - counts.of_ood[..., :-1]
    loosest = counts.of_ood[..., 0] * _share(n_ood, n_id)[..., 0]
    rest = _gained(counts.of_ood[..., :-1], counts.of_ood[..., 1:], ood_at_most, id_at_most)
    return np.asarray((loosest + rest) / n_ood[..., 0])


def _share(part: NDArray[Any], other: NDArray[Any]) -> Floats:
    """Return part / (part + other), 0 where both are 0."""
    return np.asarray(part / np.maximum(part + other, 1))


def _gained(before: Integers, after: Integers, positive: Integers, negative: Integers) -> Floats:
    """Return the sum over thresholds of (after - before) * precision; in blocks that stay in the cache."""
    total = np.zeros(before.shape[:-1])
    for start in range(0, before.shape[-1], _BLOCK):
        part = (..., slice(start, start + _BLOCK))
        total += _dot(after[part] - before[part], _share(positive[part], negative[part]))
    return total


def needed(level: float, total: int) -> int:
    """Return the smallest count c with c / total >= level.

    Examples
    --------
    >>> needed(0.95, 19), needed(0.95, 20)
    (19, 19)
    """
    count = math.ceil(level * total)
    while count > 0 and (count - 1) / total >= level:
        count -= 1
    return count


def fpr95_id_positive(counts: Counts, level: float = LEVEL) -> Floats:
    """Return the share of OOD samples accepted at the strictest threshold that accepts at least 95 % of ID samples.

    Examples
    --------
    >>> float(fpr95_id_positive(rank([0.9, 0.8, 0.3], [0.5, 0.1]).counts()))
    0.5
    """
    n_id, n_ood = int(counts.of_id.flat[-1]), counts.of_ood[..., -1]
    before = _how_many_below(counts.of_id, needed(level, n_id))
    return np.asarray(np.take_along_axis(counts.of_ood, before[..., None], axis=-1)[..., 0] / n_ood)


def fpr95_ood_positive(counts: Counts, level: float = LEVEL) -> Floats:
    """Return the share of ID samples rejected at the strictest threshold that rejects at least 95 % of OOD samples.

    The convention of OpenOOD, pytorch-ood, Outlier Exposure and HOOD.

    See Also
    --------
    reprood.evaluate.variants.oe_fpr : The recall nearest to 95 % instead, as in the code of Outlier Exposure.

    Examples
    --------
    >>> float(fpr95_ood_positive(rank([0.9, 0.8, 0.3], [0.5, 0.1]).counts()))
    0.3333333333333333
    """
    n_id, n_ood = counts.of_id[..., -1], int(counts.of_ood.flat[-1])
    # Rejecting threshold k and all below it leaves the OOD samples above it, at most n_ood - needed of them.
    before = _how_many_below(counts.of_ood, n_ood - needed(level, n_ood) + 1)
    above = np.take_along_axis(counts.of_id, np.maximum(before - 1, 0)[..., None], axis=-1)[..., 0]
    return np.asarray((n_id - np.where(before > 0, above, 0)) / n_id)


def _how_many_below(cumulative: Integers, count: int) -> Integers:
    """Return the number of thresholds with fewer than `count` samples; [..., m] -> [...]."""
    rows = cumulative.reshape(-1, cumulative.shape[-1])
    places = np.array([np.searchsorted(row, count) for row in rows], dtype=np.int64)
    return places.reshape(cumulative.shape[:-1])


def detection_error(counts: Counts) -> Floats:
    """Return the smallest mean of the two error rates over all thresholds (equal priors); in [0, 0.5].

    Examples
    --------
    >>> round(float(detection_error(rank([0.9, 0.8, 0.3], [0.5, 0.1]).counts())), 6)
    0.166667
    """
    n_id, n_ood = counts.of_id[..., -1:], counts.of_ood[..., -1:]
    gain = counts.of_id * n_ood  # in integers: accepted ID minus accepted OOD, times the number of pairs
    gain -= counts.of_ood * n_id
    return np.asarray(0.5 * (1 - np.maximum(gain.max(axis=-1), 0) / (n_id * n_ood)[..., 0]))


METRICS: dict[str, Callable[[Counts], Floats]] = {
    "auroc": auroc,
    "aupr_in": aupr_in,
    "aupr_out": aupr_out,
    "fpr95_id_positive": fpr95_id_positive,
    "fpr95_ood_positive": fpr95_ood_positive,
    "detection_error": detection_error,
}
PRECISION_METRICS = ("aupr_in", "aupr_out")  # those that depend on the base rate


def metric_at(name: str, counts: Counts, rate: Fraction | None = None) -> Floats:
    """Compute a metric; at the base rate `rate` if one is given and the metric depends on it."""
    return METRICS[name](counts.at_base_rate(rate) if rate is not None and name in PRECISION_METRICS else counts)


def detection_metrics(
    in_distribution: ArrayLike,
    outlier: ArrayLike,
    names: Sequence[str] = tuple(METRICS),
    base_rate: Fraction | None = None,
) -> dict[str, float]:
    """Compute every detection metric of two samples of scores, from one sorting.

    Parameters
    ----------
    in_distribution, outlier : array [n_id], [n_ood]
        Scores, higher = more in-distribution, any finite range.
    names : sequence of str
        Which metrics; default all of `METRICS`.
    base_rate : Fraction, optional
        Share of OOD samples at which the AUPR is computed; default that of the samples.

    Returns
    -------
    dict of float
        All in [0, 1].

    Raises
    ------
    ReproodError
        When a side is empty, not one-dimensional or not finite.

    Examples
    --------
    >>> detection_metrics([0.9, 0.8, 0.7], [0.6, 0.1], ["auroc", "fpr95_id_positive"])
    {'auroc': 1.0, 'fpr95_id_positive': 0.0}
    """
    counts = rank(in_distribution, outlier).counts()
    return {name: float(metric_at(name, counts, base_rate)) for name in names}
