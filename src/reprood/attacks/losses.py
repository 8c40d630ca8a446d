"""What attacks ascend: functions of logits [B, K] that give one number an image.

An attack adds them up over the batch: then each image has the gradient that it would have alone.
"""

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image (Madry et al. 2018).

    Parameters
    ----------
    logits : Tensor [B, K]
    labels : Tensor
        Classes, int64 [B], or target distributions, like `logits` (outliers have the uniform one).

    Returns
    -------
    Tensor [B]
    """
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor, confidence: float = 50.0) -> Tensor:
    """Margin of each image, -max(z_y - max_{k != y} z_k + confidence, 0) (Carlini and Wagner 2017, equation 6).

    Parameters
    ----------
    logits : Tensor [B, K]
    labels : int64 Tensor [B]
    confidence : float
        An image whose true class lies this far below another is left alone. The evaluations of adversarial training
        use 50, which no network reaches: there it is the plain margin.

    Returns
    -------
    Tensor [B]
        At most 0.
    """
    right = functional.one_hot(labels, logits.shape[1]).to(torch.bool)
    other = logits.masked_fill(right, -torch.inf).amax(dim=1)
    return -(logits[right] - other + confidence).clamp(min=0)


def kl_divergence(logits: Tensor, natural: Tensor) -> Tensor:
    """KL(n || a) = sum_k n_k (log n_k - log a_k) of each image (TRADES, Zhang et al. 2019, equation 5).

    Parameters
    ----------
    logits : Tensor [B, K]
        Of the changed images: a = softmax.
    natural : Tensor [B, K]
        Logits of the images as they were: n = softmax. Detach them in an attack; TRADES' loss lets gradients through.

    Returns
    -------
    Tensor [B]
    """
    changed, before = logits.log_softmax(dim=1), natural.log_softmax(dim=1)
    return functional.kl_div(changed, before, reduction="none", log_target=True).sum(dim=1)


LOSSES = {"ce": cross_entropy, "margin": margin}
