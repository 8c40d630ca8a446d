"""fDBD: distances of the features to the decision boundaries, over that to the mean training feature. No torch.

L. Liu, Y. Qin: Fast Decision Boundary based Out-of-Distribution Detector, ICML 2024, arXiv 2312.11536. The
distances are summed over the other classes, as in the authors' code and OpenOOD; pytorch-ood takes their mean, which
is the same up to a constant. A class with the same weights as the predicted one has no boundary with it and adds 0.
"""

from dataclasses import dataclass

import numpy as np

from reprood.detectors.arrays import ROWS, blocks, lengths
from reprood.detectors.record import (
    Detector,
    Floats,
    Outputs,
    Paper,
    Reference,
    Scores,
    last_layer,
    need,
    training,
)

SMALLEST = 1e-8  # of the distance to the mean


@dataclass(frozen=True)
class Boundaries:
    """1 / |w_p - w_c| [C, C], 0 where the weights agree, and the mean training feature [d]."""

    inverse: Scores
    centre: Scores


def fit(features: Floats, weight: Floats) -> Boundaries:
    """Return what is fitted to ID training features [N, d] and the weight [C, d] of the last layer."""
    rows = weight.astype(np.float64)
    norms = np.array([lengths(rows - row) for row in rows])
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return Boundaries(inverse, features.mean(axis=0, dtype=np.float64))


def score(features: Floats, logits: Floats, fitted: Boundaries) -> Scores:
    """Return sum_c (l_y - l_c) / |w_y - w_c| / |z - mu|, y the predicted class; [N, d], [N, C] -> float64 [N].

    Examples
    --------
    >>> fitted = fit(np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[3.0, 0.0], [0.0, 4.0]]))
    >>> score(np.array([[3.0, 0.0]]), np.array([[9.0, 0.0]]), fitted)
    array([0.9])
    """
    result, predicted = np.empty(len(features), np.float64), logits.argmax(axis=1)
    for rows in blocks(len(features), ROWS):
        values = logits[rows].astype(np.float64)
        gaps = values.max(axis=1, keepdims=True) - values
        far = lengths(features[rows].astype(np.float64) - fitted.centre)
        result[rows] = np.einsum("ij,ij->i", gaps, fitted.inverse[predicted[rows]]) / np.maximum(far, SMALLEST)
    return result


def _fit(reference: Reference, options: object) -> Boundaries:
    train = training(reference)
    return fit(need(train.features, "train_features"), last_layer(reference)[0])


def _score(outputs: Outputs, fitted: Boundaries, options: object) -> Scores:
    return score(need(outputs.features, "features"), outputs.logits, fitted)


DETECTOR = Detector(
    name="fdbd",
    label="fDBD",
    paper=Paper(
        title="Fast Decision Boundary based Out-of-Distribution Detector",
        authors="Liu, Qin",
        venue="ICML",
        year=2024,
        url="https://arxiv.org/abs/2312.11536",
    ),
    formula="sum_c (l_y - l_c) / |w_y - w_c| / |z - mean training feature|, y = argmax l",
    inputs=("logits", "features", "train_features", "head"),
    score=_score,
    fit=_fit,
)
