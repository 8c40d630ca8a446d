"""NNGuide: the energy score times the similarity to confident training samples. No torch.

J. Park, Y. G. Jung, A. B. J. Teoh: Nearest Neighbor Guidance for Out-of-Distribution Detection, ICCV 2023, arXiv
2309.14888. k is that of the authors' code (roomo7time/nnguide, `configs/detector/nnguide.yaml`);
OpenOOD takes 100. The bank is the whole training split; the authors and OpenOOD draw 1 % of ImageNet's.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from reprood.core.errors import ReproodError
from reprood.detectors.arrays import blocks
from reprood.detectors.energy import energy
from reprood.detectors.knn import BUDGET, unit
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, need, training


class NnguideOptions(Options):
    """Options of NNGuide.

    Attributes
    ----------
    k : int
        Number of neighbours.
    """

    k: int = Field(default=10, ge=1)


@dataclass(frozen=True)
class Bank:
    """Training features of length 1, times their energy; [M, d]."""

    rows: Floats


def fit(features: Floats, logits: Floats) -> Bank:
    """Return the bank of ID training samples; [M, d], [M, C]."""
    return Bank((unit(features) * energy(logits)[:, None]).astype(features.dtype))


def score(features: Floats, logits: Floats, bank: Bank, k: int = 10) -> Scores:
    """Return the energy times the mean of the k largest inner products with the bank; [N, d], [N, C] -> float64 [N].

    Neighbours are found in the features' precision, their inner products then computed in float64.

    Raises
    ------
    ReproodError
        When the bank has fewer than k rows.

    Examples
    --------
    >>> bank = Bank(np.array([[2.0, 0.0], [0.0, 3.0]]))
    >>> score(np.array([[5.0, 0.0]]), np.array([[0.0, 0.0]]), bank, k=1)  # log 2 times 2
    array([1.38629436])
    """
    size = len(bank.rows)
    if k > size:
        raise ReproodError(f"NNGuide: k = {k} needs as many training samples, there are {size}; set its option k.")
    queries, guidance = unit(features), np.empty(len(features), np.float64)
    for rows in blocks(len(features), max(1, BUDGET // max(size, k * features.shape[1]))):
        nearest = np.argpartition(queries[rows] @ bank.rows.T, size - k, axis=1)[:, size - k :]
        mean = bank.rows[np.sort(nearest, axis=1)].mean(axis=1, dtype=np.float64)
        guidance[rows] = np.einsum("ij,ij->i", queries[rows].astype(np.float64), mean)
    return np.asarray(guidance * energy(logits))


def _fit(reference: Reference, options: NnguideOptions) -> Bank:
    train = training(reference)
    return fit(need(train.features, "train_features"), train.logits)


def _score(outputs: Outputs, fitted: Bank, options: NnguideOptions) -> Scores:
    return score(need(outputs.features, "features"), outputs.logits, fitted, options.k)


DETECTOR = Detector(
    name="nnguide",
    label="NNGuide",
    paper=Paper(
        title="Nearest Neighbor Guidance for Out-of-Distribution Detection",
        authors="Park, Jung, Teoh",
        venue="ICCV",
        year=2023,
        url="https://arxiv.org/abs/2309.14888",
    ),
    formula="E(l) mean_k E(l_k) cos(z, z_k), E = log sum_c exp(l_c), over the k samples with the largest terms",
    inputs=("logits", "features", "train_logits", "train_features"),
    score=_score,
    fit=_fit,
    options=NnguideOptions,
)
