"""Losses that attacks maximise: functions of logits [B, K] that return one number per image.

An attack sums them over the batch, so that each image has the same gradient as it would have alone.
"""

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image (Madry et al. 2018).

    Parameters
    ----------
    logits : Tensor [B, K]
        Outputs of the network.
    labels : Tensor
        Classes, int64 [B], or target distributions like `logits` (uniform for outliers).

    Returns
    -------
    Tensor [B]
    """
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor, confidence: float = 50.0) -> Tensor:
    """Return -max(z_y - max_{k != y} z_k + confidence, 0) of each image (Carlini and Wagner 2017, equation 6).

    Parameters
    ----------
    logits : Tensor [B, K]
        Outputs z of the network.
    labels : int64 Tensor [B]
        True classes y.
    confidence : float
        An image whose true class is this far below another one is not changed any further. Evaluations of adversarial
        training use 50, which no network reaches, so that this is the plain margin.

    Returns
    -------
    Tensor [B]
        At most 0.
    """
    right = functional.one_hot(labels, logits.shape[1]).to(torch.bool)
    other = logits.masked_fill(right, -torch.inf).amax(dim=1)
    return -(logits[right] - other + confidence).clamp(min=0)


def kl_divergence(logits: Tensor, natural: Tensor) -> Tensor:
    """Return KL(n || a) = sum_k n_k (log n_k - log a_k) of each image (TRADES, Zhang et al. 2019, equation 5).

    Parameters
    ----------
    logits : Tensor [B, K]
        Logits of the attacked images: a = softmax(logits).
    natural : Tensor [B, K]
        Logits of the clean images: n = softmax(natural). Detach them in an attack, but not in TRADES' training loss.

    Returns
    -------
    Tensor [B]
    """
    attacked, clean = logits.log_softmax(dim=1), natural.log_softmax(dim=1)
    return functional.kl_div(attacked, clean, reduction="none", log_target=True).sum(dim=1)


LOSSES = {"ce": cross_entropy, "margin": margin}
