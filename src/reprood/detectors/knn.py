"""Distance to the k-th nearest training feature on the unit sphere (Sun et al. 2022)."""

import torch
from torch import Tensor

from reprood.core.errors import ReproodError

BUDGET = 2**24  # similarities held at once: 64 MiB of float32


def unit(features: Tensor) -> Tensor:
    """Features scaled to length 1; [N, d]. A zero row stays zero."""
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    scaled: Tensor = features / length.clamp(min=torch.finfo(features.dtype).tiny)
    return scaled


def score(features: Tensor, bank: Tensor, k: int = 50) -> Tensor:
    """Minus the distance to the k-th nearest row of the bank.

    Neighbours are found by matrix products of bounded size in the features' precision; the distance to the k-th one is
    then computed anew from the difference in float64, because 2 - 2 cos loses all digits for close neighbours.

    Parameters
    ----------
    features : Tensor [N, d]
        Of the samples to be scored.
    bank : Tensor [M, d]
        All ID training features (not normalised).
    k : int
        1 .. M; 50 in the authors' CIFAR script.

    Returns
    -------
    Tensor [N], float64, in [-2, 0]

    Raises
    ------
    ReproodError
        When the bank has fewer than k rows.
    """
    if not 1 <= k <= len(bank):
        raise ReproodError(
            f"k-nearest neighbours: k = {k} needs at least {max(k, 1)} training samples and k >= 1, there are "
            f"{len(bank)}; set detectors.knn.k to a value from 1 to {len(bank)}."
        )
    known = unit(bank)
    parts = []
    for rows in torch.split(unit(features), max(1, BUDGET // len(bank))):
        neighbour = (rows @ known.T).topk(k, dim=1).indices[:, -1]
        parts.append(-torch.linalg.vector_norm(rows.double() - known[neighbour].double(), dim=1))
    return torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float64)
