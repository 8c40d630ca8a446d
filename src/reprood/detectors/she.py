"""SHE: the inner product with the stored pattern of the predicted class. No torch.

J. Zhang, Q. Fu, X. Chen, L. Du, Z. Li, G. Wang, X. Liu, S. Han, D. Zhang: Out-of-Distribution Detection based on
In-Distribution Data Patterns Memorization with Modern Hopfield Energy, ICLR 2023, with the inner product,
as in OpenOOD and pytorch-ood. Where those fail, because no training sample of a class is classified correctly, its
pattern is zero here: the score is 0, the lowest one for features after a ReLU. The number of such classes is recorded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprood.detectors.arrays import ROWS, blocks
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
class Patterns:
    """The pattern [C, d] of each class, and how many classes have none."""

    means: Scores
    without_pattern: int


def fit(features: Floats, logits: Floats, labels: NDArray[np.integer[Any]]) -> Patterns:
    """Return the mean feature of the correctly classified ID training samples of each class; [N, d], [N, C], [N]."""
    classes = logits.shape[1]
    correct = np.flatnonzero(logits.argmax(axis=1) == labels)
    sums = np.zeros((classes, features.shape[1]))
    for block in blocks(len(correct), ROWS):
        rows = correct[block]
        sums += np.eye(classes)[labels[rows]].T @ features[rows].astype(np.float64)
    counts = np.bincount(labels[correct], minlength=classes)
    return Patterns(sums / np.maximum(counts, 1)[:, None], int((counts == 0).sum()))


def score(features: Floats, logits: Floats, patterns: Patterns) -> Scores:
    """Return z' S_y, y the predicted class; [N, d], [N, C] -> float64 [N].

    Examples
    --------
    >>> logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> score(np.array([[2.0, 0.0], [2.0, 1.0]]), logits, fit(np.eye(2), logits, np.array([0, 1])))
    array([2., 1.])
    """
    result, predicted = np.empty(len(features), np.float64), logits.argmax(axis=1)
    for rows in blocks(len(features), ROWS):
        result[rows] = np.einsum("ij,ij->i", features[rows].astype(np.float64), patterns.means[predicted[rows]])
    return result


def _fit(reference: Reference, options: object) -> Patterns:
    train, labels = training(reference), training_labels(reference)
    return fit(need(train.features, "train_features"), train.logits, labels)


def _score(outputs: Outputs, fitted: Patterns, options: object) -> Scores:
    return score(need(outputs.features, "features"), outputs.logits, fitted)


DETECTOR = Detector(
    name="she",
    label="SHE",
    paper=Paper(
        title="Out-of-Distribution Detection based on In-Distribution Data Patterns Memorization with Modern Hopfield "
        "Energy",
        authors="Zhang, Fu, Chen, Du, Li, Wang, Liu, Han, Zhang",
        venue="ICLR",
        year=2023,
        url="https://openreview.net/forum?id=KkazG4lgKL",
    ),
    formula="z' S_y, S_y the mean feature of correctly classified training samples of the predicted class",
    inputs=("logits", "features", "train_logits", "train_features"),
    score=_score,
    fit=_fit,
)
