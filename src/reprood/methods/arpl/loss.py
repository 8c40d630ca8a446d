"""The losses of adversarial reciprocal point learning, as in the authors' code (Chen et al. 2021).

With the reciprocal point p_k of class k, features z of width d and a learnt radius R:

    l_k = |z - p_k|^2 / d - z . p_k          the larger, the further z is from the points that stand for "not k"
    L = CE(l / T, y) + weight * mean max(0, |z - p_y|^2 / d - R + 1)
"""

from torch import Tensor
from torch.nn import functional

MARGIN = 1.0


def mean_squares(features: Tensor, points: Tensor) -> Tensor:
    """Return |z - p_k|^2 / d of features [B, d] and points [K, d]: [B, K]."""
    squares = features.square().sum(1, keepdim=True) - 2 * features @ points.T + points.square().sum(1)
    return squares / features.shape[1]


def reciprocal_logits(features: Tensor, points: Tensor) -> Tensor:
    """Return l_k = |z - p_k|^2 / d - z . p_k, [B, K].

    Examples
    --------
    >>> import torch
    >>> reciprocal_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    tensor([[-1.,  3.]])
    """
    return mean_squares(features, points) - features @ points.T


def margin_loss(features: Tensor, labels: Tensor, points: Tensor, radius: Tensor) -> Tensor:
    """Return the mean of max(0, |z - p_y|^2 / d - R + 1), which keeps known classes inside a ball; a scalar."""
    own = (features - points[labels]).square().mean(1)
    return (own - radius + MARGIN).relu().mean()


def arpl_loss(
    features: Tensor, labels: Tensor, points: Tensor, radius: Tensor, *, weight: float, temperature: float
) -> Tensor:
    """Return L of a batch.

    Parameters
    ----------
    features : Tensor [B, d]
    labels : int64 Tensor [B]
    points : Tensor [K, d]
        Reciprocal points.
    radius : Tensor [1]
        R.
    weight : float
        Of the margin.
    temperature : float
        T.
    """
    logits = reciprocal_logits(features, points)
    margin = margin_loss(features, labels, points, radius)
    return functional.cross_entropy(logits / temperature, labels) + weight * margin


def confusion_loss(features: Tensor, points: Tensor) -> Tensor:
    """Return exp(mean of sum_k q_k log q_k) of generated images, q the softmax of |z - p_k|^2 / d; a scalar.

    1 where the network is sure of a class, 1 / K where all are equally likely. Generator and classifier minimise it.

    Examples
    --------
    >>> import torch
    >>> round(float(confusion_loss(torch.zeros(3, 2), torch.ones(4, 2))), 4)
    0.25
    """
    distances = mean_squares(features, points)
    return (distances.softmax(1) * distances.log_softmax(1)).sum(1).mean().exp()
