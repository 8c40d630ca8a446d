"""Relative Mahalanobis distance: that to the nearest class, less that to one Gaussian for all. No torch.

J. Ren, S. Fort, J. Liu, A. G. Roy, S. Padhy, B. Lakshminarayanan: A Simple Fix to Mahalanobis Distance for Improving
Near-OOD Detection, arXiv 2106.09022, as in OpenOOD (`rmds_postprocessor.py`). pytorch-ood does not divide
the covariances by the number of samples, which divides the score by it, and adds 1e-6 to their diagonals.
"""

from dataclasses import dataclass

import numpy as np

from reprood.detectors import mahalanobis
from reprood.detectors.mahalanobis import Gaussians
from reprood.detectors.record import (
    Detector,
    Floats,
    Outputs,
    Paper,
    Reference,
    Scores,
    need,
    training,
    training_labels,
)


@dataclass(frozen=True)
class Both:
    """The Gaussians of the classes, with one covariance, and that of all training samples."""

    classes: Gaussians
    background: Gaussians


def fit(features: Floats, labels: np.ndarray, classes: int) -> Both:
    """Fit both to ID training features; arguments and errors as in `mahalanobis.fit`."""
    everything = mahalanobis.fit(features, np.zeros(len(features), np.intp), 1)
    return Both(mahalanobis.fit(features, labels, classes), everything)


def score(features: Floats, fitted: Both) -> Scores:
    """Return the squared distance to the mean of all less that to the nearest class mean; [N, d] -> float64 [N].

    Examples
    --------
    >>> train = np.array([[1.0], [-1.0], [9.0], [11.0]])
    >>> score(np.array([[0.0], [5.0]]), fit(train, np.array([0, 0, 1, 1]), 2)).round(3)
    array([  0.962, -25.   ])
    """
    return np.asarray(
        mahalanobis.score(features, fitted.classes) - mahalanobis.score(features, fitted.background), np.float64
    )


def _fit(reference: Reference, options: object) -> Both:
    train, labels = training(reference), training_labels(reference)
    return fit(need(train.features, "train_features"), labels, train.logits.shape[1])


def _score(outputs: Outputs, fitted: Both, options: object) -> Scores:
    return score(need(outputs.features, "features"), fitted)


DETECTOR = Detector(
    name="rmds",
    label="RMDS",
    paper=Paper(
        title="A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection",
        authors="Ren, Fort, Liu, Roy, Padhy, Lakshminarayanan",
        venue="arXiv",
        year=2021,
        url="https://arxiv.org/abs/2106.09022",
    ),
    formula="(z - mu)' Sigma_0^+ (z - mu) - min_c (z - mu_c)' Sigma^+ (z - mu_c)",
    inputs=("features", "train_features", "train_logits"),
    score=_score,
    fit=_fit,
)
