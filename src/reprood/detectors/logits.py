"""Scores of the logits alone. Higher = more in-distribution; computed in float64.

Float32 softmax saturates at 1 for confident networks and makes ties that float64 does not have; published
numbers of the maximum softmax probability mostly used float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor

AT_ONCE = 2**18  # logits in float64: 2 MiB stay in a cache, and large copies cost more than the arithmetic


def _by_rows(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """The function of some rows [b, C] in float64 -> [b] at a time; the same bits as of all at once."""
    parts = torch.split(logits, max(1, AT_ONCE // max(1, logits.shape[1])))
    return torch.cat([function(part.double()) for part in parts])


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
    return _by_rows(lambda rows: torch.softmax(rows / temperature, dim=1).amax(dim=1), logits)


def maxlogit(logits: Tensor) -> Tensor:
    """Largest logit (Hendrycks et al. 2022); [B, C] -> [B] float64."""
    return logits.double().amax(dim=1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Negative free energy T logsumexp(l / T) (Liu et al. 2020); [B, C] -> [B] float64.

    At T = 1 it lies between the largest logit and the largest logit + log C.
    """
    return temperature * _by_rows(lambda rows: torch.logsumexp(rows / temperature, dim=1), logits)


def oe_cross_entropy(logits: Tensor) -> Tensor:
    """Cross-entropy from the uniform distribution to the softmax: logsumexp(l) - mean(l); [B, C] -> [B] float64.

    The optional score of the Outlier Exposure code (Hendrycks et al. 2019), with the sign of a confidence.
    """
    wide = logits.double()
    return torch.logsumexp(wide, dim=1) - wide.mean(dim=1)
