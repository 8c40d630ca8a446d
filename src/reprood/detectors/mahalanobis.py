"""Mahalanobis distance to class means under one shared covariance (Lee et al. 2018, penultimate features)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reprood.core.errors import ReproodError

ROWS = 8192


@dataclass(frozen=True)
class Gaussians:
    """Class means and the map that turns the shared covariance into the identity.

    Attributes
    ----------
    centre : Tensor [d]
        Mean of the class means; subtracted first, for precision.
    whitening : Tensor [d, r]
        T with T T' = pseudo-inverse of the covariance; r is its numerical rank.
    means : Tensor [C, r]
        Whitened class means.
    rank : int
    """

    centre: Tensor
    whitening: Tensor
    means: Tensor
    rank: int


def fit(features: Tensor, labels: Tensor, classes: int) -> Gaussians:
    """Means and shared covariance (1/n) sum (z - mu_y)(z - mu_y)' of ID training features.

    Eigenvalues below d * eps * largest are taken as zero, with eps the precision of the features as they come: the
    rule of the pseudo-inverse that the published code applies to its float32 features. Without it, directions that
    hold nothing but rounding errors (dead units) would dominate the distance.

    Parameters
    ----------
    features : Tensor [N, d]
        Of ID training images with the test-time transform.
    labels : Tensor [N]
        0 .. classes - 1.
    classes : int
        Number of classes.

    Raises
    ------
    ReproodError
        When a class has no training sample or all features are constant.
    """
    counts = torch.bincount(labels, minlength=classes)
    if int((counts == 0).sum()):
        empty = int((counts == 0).nonzero()[0])
        raise ReproodError(
            f"Mahalanobis: class {empty} of {classes} has no training sample; give every class at least one."
        )
    width = features.shape[1]
    sums = torch.zeros(classes, width, dtype=torch.float64, device=features.device)
    for rows, marks in zip(torch.split(features, ROWS), torch.split(labels, ROWS)):
        sums += torch.nn.functional.one_hot(marks, classes).double().T @ rows.double()
    means = sums / counts[:, None]
    covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for rows, marks in zip(torch.split(features, ROWS), torch.split(labels, ROWS)):
        centred = rows.double() - means[marks]
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / len(features))
    kept = values > values[-1].clamp(min=0) * width * torch.finfo(features.dtype).eps
    if not bool(kept.any()):
        raise ReproodError("Mahalanobis: the training features are constant within each class; is the network trained?")
    whitening = vectors[:, kept] / values[kept].sqrt()
    centre = means.mean(dim=0)
    return Gaussians(centre, whitening, (means - centre) @ whitening, int(kept.sum()))


def score(features: Tensor, gaussians: Gaussians) -> Tensor:
    """Minus the squared distance to the nearest class mean; [N, d] -> [N] float64, <= 0."""
    parts = []
    for rows in torch.split(features, ROWS):
        white = (rows.double() - gaussians.centre) @ gaussians.whitening
        squared = white.square().sum(1, keepdim=True) - 2 * white @ gaussians.means.T
        parts.append(-(squared + gaussians.means.square().sum(1)).amin(dim=1).clamp(min=0))
    return torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float64)
