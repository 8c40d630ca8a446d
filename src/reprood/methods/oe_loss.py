"""The loss of Outlier Exposure (Hendrycks, Mazeika, Dietterich 2019), for methods that train with outliers."""

import torch
from torch import Tensor
from torch.nn import functional


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Cross-entropy from the uniform distribution to the softmax, per sample: logsumexp(l) - mean(l).

    Not the Kullback-Leibler divergence: that is smaller by the constant log C. [B, C] -> [B].
    """
    return torch.logsumexp(logits, dim=1) - logits.mean(dim=1)


def oe_loss(logits: Tensor, labels: Tensor, outlier_logits: Tensor, weight: float = 0.5) -> Tensor:
    """Mean cross-entropy of the ID batch plus `weight` times the mean over outliers of `uniform_cross_entropy`.

    Each part is the mean of its own samples, whatever the sizes of the two batches are.

    Parameters
    ----------
    logits : Tensor [n, C]
        Of ID images; from one forward pass with the outliers, so that batch statistics are of the mixture.
    labels : Tensor [n]
        Class numbers of the ID images.
    outlier_logits : Tensor [m, C]
        Of auxiliary outliers.
    weight : float
        0.5 in the authors' code.

    Returns
    -------
    Tensor, scalar
    """
    return functional.cross_entropy(logits, labels) + weight * uniform_cross_entropy(outlier_logits).mean()
