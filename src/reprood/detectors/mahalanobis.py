"""Mahalanobis distance to class means under one shared covariance, on penultimate features. No torch.

K. Lee, K. Lee, H. Lee, J. Shin: A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks, NeurIPS 2018, arXiv 1807.03888 (equations 1 and 2), without
the ensemble over layers; `mahalanobis_step` adds the input step.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprood.core.errors import ReproodError
from reprood.detectors.arrays import ROWS, blocks, by_rows
from reprood.detectors.record import Detector, Floats, Outputs, Paper, Reference, Scores, need


@dataclass(frozen=True)
class Gaussians:
    """Class means and the map that turns the shared covariance into the identity.

    Attributes
    ----------
    centre : array [d]
        Mean of the class means; subtracted first, for precision.
    whitening : array [d, r]
        T with T T' = pseudo-inverse of the covariance; r is its numerical rank.
    means : array [C, r]
        Whitened class means.
    rank : int
    """

    centre: Scores
    whitening: Scores
    means: Scores
    rank: int


def fit(features: Floats, labels: NDArray[np.integer[Any]], classes: int) -> Gaussians:
    """Fit means and shared covariance (1/n) sum (z - mu_y)(z - mu_y)' to ID training features.

    Eigenvalues below d * eps * largest count as zero, with eps = 2.2e-16, the precision of float64: the rule of the
    pseudo-inverse that the published code (Lee et al., OpenOOD) applies to the covariance, which numpy computes in
    float64 whatever the dtype of the features. It removes dead units and keeps the small variances of collapsed
    features.

    Parameters
    ----------
    features : array [N, d]
        Of ID training images with the test-time transform.
    labels : int array [N]
        0 .. classes - 1.
    classes : int
        Number of classes.

    Raises
    ------
    ReproodError
        When a class has no training sample or all features are constant within each class.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ReproodError(
            f"Mahalanobis: class {int(np.argmin(counts))} of {classes} has no training sample; give every class one."
        )
    width = features.shape[1]
    sums = np.zeros((classes, width))
    for rows in blocks(len(features), ROWS):
        sums += np.eye(classes)[labels[rows]].T @ features[rows].astype(np.float64)
    means = sums / counts[:, None]
    covariance = np.zeros((width, width))
    for rows in blocks(len(features), ROWS):
        centred = features[rows].astype(np.float64) - means[labels[rows]]
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / len(features))
    kept = values > max(values[-1], 0.0) * width * np.finfo(np.float64).eps
    if not kept.any():
        raise ReproodError("Mahalanobis: the training features are constant within each class; is the network trained?")
    whitening = vectors[:, kept] / np.sqrt(values[kept])
    centre = means.mean(axis=0)
    return Gaussians(centre, whitening, (means - centre) @ whitening, int(kept.sum()))


def score(features: Floats, gaussians: Gaussians) -> Scores:
    """Return minus the squared distance to the nearest class mean; [N, d] -> float64 [N], at most 0.

    Examples
    --------
    >>> train = np.array([[1.0], [-1.0], [9.0], [11.0]])
    >>> score(np.array([[0.0], [12.0]]), fit(train, np.array([0, 0, 1, 1]), 2))
    array([-0., -4.])
    """
    lengths = np.square(gaussians.means).sum(axis=1)

    def rows(part: Scores) -> Scores:
        white = (part - gaussians.centre) @ gaussians.whitening
        squared = np.square(white).sum(axis=1, keepdims=True) - 2 * white @ gaussians.means.T
        return np.asarray(-(squared + lengths).min(axis=1).clip(min=0))

    return by_rows(rows, features, ROWS)


def _fit(reference: Reference, options: object) -> Gaussians:
    train = reference.train
    if train is None or reference.labels is None:
        raise TypeError("this detector needs the training split")
    return fit(need(train.features, "train_features"), reference.labels, train.logits.shape[1])


def _score(outputs: Outputs, fitted: Gaussians, options: object) -> Scores:
    return score(need(outputs.features, "features"), fitted)


DETECTOR = Detector(
    name="mahalanobis",
    label="Mahalanobis",
    paper=Paper(
        title="A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
        authors="Lee, Lee, Lee, Shin",
        venue="NeurIPS",
        year=2018,
        url="https://arxiv.org/abs/1807.03888",
    ),
    formula="-min_c (z - mu_c)' Sigma^+ (z - mu_c)",
    inputs=("features", "train_features", "train_logits"),
    score=_score,
    fit=_fit,
)
