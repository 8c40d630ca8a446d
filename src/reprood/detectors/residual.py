"""Residual: the distance of the features from the principal space of the training features. No torch.

H. Wang, Z. Li, L. Feng, W. Zhang: ViM: Out-Of-Distribution with Virtual-logit Matching, CVPR 2022, arXiv 2203.10807
(section 4.1: ViM without the logits). Origin and dimension as in `reprood.detectors.vim`; fitted on training features
as in the authors' code, while OpenOOD fits it on validation samples and takes 512 dimensions.
"""

from dataclasses import dataclass

import numpy as np

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
from reprood.detectors.vim import VimOptions, residual_norm, residual_space


class ResidualOptions(VimOptions):
    """Options of the residual: the dimension of the principal space."""


@dataclass(frozen=True)
class Space:
    """The origin [d], the basis [d, d - D] of the residual space, and D."""

    origin: Scores
    basis: Scores
    dimension: int


def score(features: Floats, space: Space) -> Scores:
    """Return minus the length of R'(z - u); [N, d] -> float64 [N], at most 0.

    Examples
    --------
    >>> score(np.array([[3.0, 4.0]]), Space(np.zeros(2), np.array([[0.0], [1.0]]), 1))
    array([-4.])
    """
    return np.asarray(-residual_norm(features, space.origin, space.basis), np.float64)


def _fit(reference: Reference, options: ResidualOptions) -> Space:
    train = training(reference)
    features, head = need(train.features, "train_features"), last_layer(reference)
    return Space(*residual_space(features, *head, options.dimension, "residual"))


def _score(outputs: Outputs, fitted: Space, options: ResidualOptions) -> Scores:
    return score(need(outputs.features, "features"), fitted)


DETECTOR = Detector(
    name="residual",
    label="Residual",
    paper=Paper(
        title="ViM: Out-Of-Distribution with Virtual-logit Matching",
        authors="Wang, Li, Feng, Zhang",
        venue="CVPR",
        year=2022,
        url="https://arxiv.org/abs/2203.10807",
    ),
    formula="-|R'(z - u)|, u = -W^+ b",
    inputs=("features", "train_features", "head"),
    score=_score,
    fit=_fit,
    options=ResidualOptions,
)
