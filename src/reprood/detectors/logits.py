"""Scores of the logits alone. Higher = more in-distribution; computed in float64.

Float32 softmax saturates at 1 for confident networks and makes ties that float64 does not have; published
numbers of the maximum softmax probability mostly used float32.
"""

import torch
from torch import Tensor


def msp(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Maximum softmax probability (Hendrycks & Gimpel 2017).

    Parameters
    ----------
    logits : Tensor [B, C]
        Of any floating type.
    temperature : float
        T > 0; the softmax is of `logits / T`.

    Returns
    -------
    Tensor [B], float64, in [1/C, 1]
    """
    return torch.softmax(logits.double() / temperature, dim=1).amax(dim=1)


def maxlogit(logits: Tensor) -> Tensor:
    """Largest logit (Hendrycks et al. 2022); [B, C] -> [B] float64."""
    return logits.double().amax(dim=1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Negative free energy T logsumexp(l / T) (Liu et al. 2020); [B, C] -> [B] float64.

    At T = 1 it lies between the largest logit and the largest logit + log C.
    """
    return temperature * torch.logsumexp(logits.double() / temperature, dim=1)


def oe_cross_entropy(logits: Tensor) -> Tensor:
    """Cross-entropy from the uniform distribution to the softmax: logsumexp(l) - mean(l); [B, C] -> [B] float64.

    The optional score of the Outlier Exposure code (Hendrycks et al. 2019), with the sign of a confidence.
    """
    wide = logits.double()
    return torch.logsumexp(wide, dim=1) - wide.mean(dim=1)
