"""Virtual-logit matching: the residual-space norm as one more logit (Wang et al. 2022)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.detectors.logits import energy, maxlogit

ROWS = 8192


@dataclass(frozen=True)
class Residual:
    """What is fitted: the origin [d], the basis [d, d - D] of the residual space, the scale alpha and D."""

    origin: Tensor
    basis: Tensor
    alpha: float
    dimension: int


def principal_dimension(width: int) -> int:
    """Size D of the principal space in the authors' code: 1000 from 2048 features on, 512 from 768 on, else half."""
    if width >= 2048:
        return 1000
    return 512 if width >= 768 else width // 2


def residual_norm(features: Tensor, origin: Tensor, basis: Tensor) -> Tensor:
    """Length of R'(z - u); [N, d] -> [N] float64."""
    parts = [
        torch.linalg.vector_norm((rows.double() - origin) @ basis, dim=1)
        for rows in torch.split(features, ROWS)
        if len(rows)
    ]
    return torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float64)


def fit(features: Tensor, logits: Tensor, weight: Tensor, bias: Tensor, dimension: int | None = None) -> Residual:
    """Origin u = -W^+ b, the eigenvectors of (1/n) sum (z - u)(z - u)' after the D largest, and alpha.

    alpha = mean(max logit) / mean(residual norm) over the ID training samples.

    Parameters
    ----------
    features, logits : Tensor [N, d], [N, C]
        Of the ID training images.
    weight, bias : Tensor [C, d], [C]
        The affine head.
    dimension : int, optional
        D; default `principal_dimension(d)`.

    Raises
    ------
    ReproodError
        When D is not smaller than d (the residual space would be empty) or all residuals are zero.
    """
    width = features.shape[1]
    size = principal_dimension(width) if dimension is None else dimension
    if not 0 <= size < width:
        raise ReproodError(
            f"ViM: the principal space has dimension {size} and the features {width}; "
            f"set detectors.vim.dimension to a value from 0 to {width - 1}, or leave it out."
        )
    origin = -torch.linalg.pinv(weight.double()) @ bias.double()
    moments = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for rows in torch.split(features, ROWS):
        centred = rows.double() - origin
        moments += centred.T @ centred
    _, vectors = torch.linalg.eigh(moments / len(features))  # eigenvalues in ascending order
    basis = vectors[:, : width - size]
    norm = float(residual_norm(features, origin, basis).mean())
    if norm == 0:
        raise ReproodError(f"ViM: the training features have no residual outside {size} dimensions; choose fewer.")
    return Residual(origin, basis, float(maxlogit(logits).mean()) / norm, size)


def score(features: Tensor, logits: Tensor, residual: Residual) -> Tensor:
    """Score logsumexp(l) - alpha * residual norm; [N, d], [N, C] -> [N] float64."""
    return energy(logits) - residual.alpha * residual_norm(features, residual.origin, residual.basis)
