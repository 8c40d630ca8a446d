"""Detection metrics as other code bases compute them, to compare with numbers that were published with them. No torch.

None of these is used for the project's own results (see `reprood.evaluate.metrics`). Input is always a confidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprood.evaluate.metrics import LEVEL, Counts, Floats, Integers, checked, rank


def _curve(in_distribution: ArrayLike, outlier: ArrayLike, *, ood_positive: bool) -> tuple[Integers, Integers]:
    """Return cumulative (true positives, false positives) over distinct thresholds from strict to loose."""
    sides = (in_distribution, outlier)
    if ood_positive:
        sides = (-np.asarray(outlier, dtype=np.float64), -np.asarray(in_distribution, dtype=np.float64))
    counts: Counts = rank(*sides).counts()
    return counts.of_id, counts.of_ood


def trapezoid_aupr(in_distribution: ArrayLike, outlier: ArrayLike, *, ood_positive: bool) -> float:
    """Return the area under the precision-recall curve by the trapezoid rule (OpenOOD, pytorch-ood).

    The curve begins at recall 0 and precision 1. Linear interpolation between vertices is optimistic; the exact metrics
    use average precision.

    See Also
    --------
    reprood.evaluate.metrics.aupr_in : Average precision.

    Examples
    --------
    >>> trapezoid_aupr([0.9, 0.2], [0.5], ood_positive=False)
    0.7916666666666666
    """
    true, false = _curve(in_distribution, outlier, ood_positive=ood_positive)
    recall = np.concatenate([[0.0], true / true[-1]])
    precision = np.concatenate([[1.0], true / (true + false)])
    return float(np.trapezoid(precision, recall))


def oe_fpr(in_distribution: ArrayLike, outlier: ArrayLike, level: float = LEVEL) -> float:
    """Return the false positive rate at the vertex whose recall is nearest to `level` (OOD positive).

    The rule of Outlier Exposure and HOOD. Of vertices up to the first one of recall 1, the nearest in float64, searched
    from recall 1 downwards, so that at equal recall the largest false positive rate is taken. The recall may lie below
    `level`.

    Examples
    --------
    >>> oe_fpr([0.9, 0.8], [0.7, 0.1])
    0.0
    """
    true, false = _curve(in_distribution, outlier, ood_positive=True)
    last = int(np.argmax(true == true[-1]))
    recall, rates = (true / true[-1])[last::-1], (false / false[-1])[last::-1]
    return float(rates[int(np.argmin(np.abs(recall - level)))])


@dataclass(frozen=True)
class Untied:
    """ARPL's curve: samples from the lowest score up, with ID below OOD at ties; [n + 1] accepted counts."""

    of_id: Integers
    of_ood: Integers


def _untied(in_distribution: ArrayLike, outlier: ArrayLike) -> Untied:
    first, second = checked(in_distribution, "in-distribution"), checked(outlier, "OOD")
    order = np.argsort(np.concatenate([first, second]), kind="stable")  # ID samples come first
    is_id = order < len(first)
    rejected_id = np.concatenate([[0], np.cumsum(is_id)])
    rejected_ood = np.concatenate([[0], np.cumsum(~is_id)])
    return Untied(len(first) - rejected_id, len(second) - rejected_ood)


def _area(heights: Floats, places: Floats, kept: NDArray[np.bool_]) -> float:
    return float(np.trapezoid(heights[kept], places[kept]))


def arpl_metrics(in_distribution: ArrayLike, outlier: ArrayLike) -> dict[str, float]:
    """Compute TNR at 95 % TPR, AUROC, DTACC, AUIN and AUOUT as ARPL and the Mahalanobis code do, in percent.

    Ties count against the detector, and both areas have artificial end points: perfect separation gives less than 100.

    Examples
    --------
    >>> arpl_metrics([0.9, 0.8], [0.7, 0.1])["AUROC"]
    100.0
    """
    curve = _untied(in_distribution, outlier)
    tp, fp = curve.of_id, curve.of_ood
    tpr, fpr = tp / tp[0], fp / fp[0]
    place = int(np.argmin(np.abs(tpr - LEVEL)))
    ends = (np.concatenate([[1.0], tpr, [0.0]]), np.concatenate([[1.0], fpr, [0.0]]))
    accepted, rejected = tp + fp, (tp[0] - tp) + (fp[0] - fp)
    of_in = np.concatenate([[0.5], tp / np.maximum(accepted, 1), [0.0]])
    of_out = np.concatenate([[0.0], (fp[0] - fp) / np.maximum(rejected, 1), [0.5]])
    some_in = np.concatenate([[True], accepted > 0, [True]])
    some_out = np.concatenate([[True], rejected > 0, [True]])
    every = np.ones(len(ends[0]), dtype=bool)
    return {
        "TNR": 100 * (1 - float(fpr[place])),
        "AUROC": -100 * _area(1 - ends[1], ends[0], every),
        "DTACC": 100 * float(0.5 * (tpr + 1 - fpr).max()),
        "AUIN": -100 * _area(of_in, ends[0], some_in),
        "AUOUT": 100 * _area(of_out, 1 - ends[1], some_out),
    }


def arpl_oscr(in_distribution: ArrayLike, right: ArrayLike, outlier: ArrayLike) -> float:
    """Return ARPL's OSCR: one sample short in the correct-classification count, end point (1, 1), ties as sorted.

    Differs from `oscr` by O(1/n); compare it on scores without ties only.
    """
    confidences, outliers = checked(in_distribution, "in-distribution"), checked(outlier, "OOD")
    hits = np.asarray(right, dtype=bool)
    order = np.argsort(np.concatenate([confidences, outliers]), kind="stable")
    hit = np.concatenate([hits, np.zeros(len(outliers), dtype=bool)])[order]
    out = order >= len(confidences)
    at_least_hit, at_least_out = np.cumsum(hit[::-1])[::-1], np.cumsum(out[::-1])[::-1]
    n = len(order)
    ccr = np.zeros(n + 2)
    fpr = np.zeros(n + 2)
    ccr[: n - 1], fpr[: n - 1] = at_least_hit[1:] / len(confidences), at_least_out[:-1] / len(outliers)
    ccr[-1] = fpr[-1] = 1.0
    by_rate = np.lexsort((ccr, fpr))
    return float(np.trapezoid(ccr[by_rate], fpr[by_rate]))


def oscr(in_distribution: ArrayLike, right: ArrayLike, outlier: ArrayLike) -> float:
    """Return the open-set classification rate: area under correct classification over false positive rate, exact.

    Ties are grouped; from (0, 0) to (1, closed-set accuracy) by the trapezoid rule. At most the accuracy, and the AUROC
    if every ID sample is classified right.

    Parameters
    ----------
    in_distribution, outlier : array [n_id], [n_ood]
        Confidences.
    right : bool array [n_id]
        Whether the classification of each ID sample is right.
    """
    ranking = rank(in_distribution, outlier)
    counts = ranking.counts()
    hits = ranking.counts(np.asarray(right, dtype=np.int64)).of_id
    ccr = np.concatenate([[0], hits]) / ranking.n_id
    fpr = np.concatenate([[0], counts.of_ood]) / ranking.n_ood
    return float(np.trapezoid(ccr, fpr))
