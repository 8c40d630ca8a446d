"""DICE: drop the weights of the last layer that contribute least, then the energy score. No torch.

Y. Sun, Y. Li: DICE: Leveraging Sparsification for Out-of-Distribution Detection, ECCV 2022, arXiv 2111.09805. The
percentile is that of the authors' code (`models/route.py`) and of OpenOOD.
"""

import numpy as np
from pydantic import Field

from reprood.detectors.arrays import ROWS, affine, by_rows
from reprood.detectors.energy import energy
from reprood.detectors.record import (
    Detector,
    Floats,
    Options,
    Outputs,
    Paper,
    Reference,
    Scores,
    last_layer,
    need,
    training,
)


class DiceOptions(Options):
    """Options of DICE.

    Attributes
    ----------
    percentile : float
        Of the contributions of all weights, up to which weights are dropped; in [0, 100].
    """

    percentile: float = Field(default=90.0, ge=0, le=100)


def masked(weight: Floats, features: Floats, percentile: float = 90.0) -> Scores:
    """Return the weight with entries zero where weight * mean feature is at most the percentile; [C, d] float64.

    Examples
    --------
    >>> masked(np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([[1.0, 0.5], [1.0, 1.5]]), 50)
    array([[0., 2.],
           [3., 0.]])
    """
    contribution = weight.astype(np.float64) * features.mean(axis=0, dtype=np.float64)
    return np.where(contribution > np.percentile(contribution, percentile), weight, 0).astype(np.float64)


def score(features: Floats, weight: Floats, bias: Floats) -> Scores:
    """Return the energy of M z + b, M the masked weight; [N, d] -> float64 [N]."""
    layer = affine(weight, bias)
    return by_rows(lambda rows: energy(layer(rows)), features, ROWS)


def _fit(reference: Reference, options: DiceOptions) -> tuple[Floats, Floats]:
    weight, bias = last_layer(reference)
    train = training(reference)
    return masked(weight, need(train.features, "train_features"), options.percentile), bias


def _score(outputs: Outputs, head: tuple[Floats, Floats], options: DiceOptions) -> Scores:
    return score(need(outputs.features, "features"), *head)


DETECTOR = Detector(
    name="dice",
    label="DICE",
    paper=Paper(
        title="DICE: Leveraging Sparsification for Out-of-Distribution Detection",
        authors="Sun, Li",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2111.09805",
    ),
    formula="log sum_c exp(M z + b)_c, M = W where W * mean z is above a percentile",
    inputs=("features", "train_features", "head"),
    score=_score,
    fit=_fit,
    options=DiceOptions,
)
