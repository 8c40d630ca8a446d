"""Metrics of OOD detection on two arrays of scores. No torch.

A score is one number per sample and **higher means more in-distribution** (a confidence, such as the maximum softmax
probability). Negate scores of the opposite orientation, such as pytorch-ood's outlier scores. Any finite range is
allowed; equal scores count one half. Every function takes the scores of in-distribution samples [n_id] first and those
of OOD samples [n_ood] second, returns a number in [0, 1], and raises `ReproodError` when a side is empty, not
one-dimensional or not finite.

Both conventions of the FPR at 95 % TPR are here, because published numbers use either: the name says which side is the
positive class.
"""

from numpy.typing import ArrayLike

from reprood.evaluate.metrics import METRICS, detection_metrics

__all__ = [
    "all_metrics",
    "aupr_in",
    "aupr_out",
    "auroc",
    "detection_error",
    "fpr95_id_positive",
    "fpr95_ood_positive",
]


def all_metrics(in_distribution: ArrayLike, ood: ArrayLike) -> dict[str, float]:
    """Return all metrics of this module by name, from one sorting.

    Examples
    --------
    >>> list(all_metrics([0.9, 0.8], [0.1]))
    ['auroc', 'aupr_in', 'aupr_out', 'fpr95_id_positive', 'fpr95_ood_positive', 'detection_error']
    """
    return detection_metrics(in_distribution, ood, tuple(METRICS))


def auroc(in_distribution: ArrayLike, ood: ArrayLike) -> float:
    """Return the area under the ROC curve: the probability that an ID sample scores higher than an OOD sample.

    Examples
    --------
    >>> auroc([0.9, 0.8], [0.8, 0.1])
    0.875
    """
    return detection_metrics(in_distribution, ood, ["auroc"])["auroc"]


def aupr_in(in_distribution: ArrayLike, ood: ArrayLike) -> float:
    """Return the average precision with ID as the positive class; it depends on n_id : n_ood.

    Examples
    --------
    >>> round(aupr_in([0.9, 0.2], [0.5]), 4)
    0.8333
    """
    return detection_metrics(in_distribution, ood, ["aupr_in"])["aupr_in"]


def aupr_out(in_distribution: ArrayLike, ood: ArrayLike) -> float:
    """Return the average precision with OOD as the positive class; it depends on n_id : n_ood.

    Examples
    --------
    >>> aupr_out([0.9, 0.2], [0.5])
    0.5
    """
    return detection_metrics(in_distribution, ood, ["aupr_out"])["aupr_out"]


def fpr95_id_positive(in_distribution: ArrayLike, ood: ArrayLike) -> float:
    """Return the share of OOD samples accepted at the strictest threshold that accepts at least 95 % of ID samples.

    Examples
    --------
    >>> fpr95_id_positive([0.9, 0.8, 0.3], [0.5, 0.1])
    0.5
    """
    return detection_metrics(in_distribution, ood, ["fpr95_id_positive"])["fpr95_id_positive"]


def fpr95_ood_positive(in_distribution: ArrayLike, ood: ArrayLike) -> float:
    """Return the share of ID samples rejected at the strictest threshold that rejects at least 95 % of OOD samples.

    The convention of OpenOOD, pytorch-ood and Outlier Exposure.

    Examples
    --------
    >>> round(fpr95_ood_positive([0.9, 0.8, 0.3], [0.5, 0.1]), 4)
    0.3333
    """
    return detection_metrics(in_distribution, ood, ["fpr95_ood_positive"])["fpr95_ood_positive"]


def detection_error(in_distribution: ArrayLike, ood: ArrayLike) -> float:
    """Return the smallest mean of the two error rates over all thresholds; in [0, 0.5].

    Examples
    --------
    >>> round(detection_error([0.9, 0.8, 0.3], [0.5, 0.1]), 4)
    0.1667
    """
    return detection_metrics(in_distribution, ood, ["detection_error"])["detection_error"]
