"""Distance to the k-th nearest training feature on the unit sphere. No torch.

Y. Sun, Y. Ming, X. Zhu, Y. Li: Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022, arXiv 2204.06507.
"""

import numpy as np
from pydantic import Field

from reprood.core.errors import ReproodError
from reprood.detectors.arrays import blocks, lengths
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, need

BUDGET = 2**24  # similarities in memory at once: 64 MiB of float32


class KnnOptions(Options):
    """Options of the nearest neighbours.

    Attributes
    ----------
    k : int
        Which neighbour; 50 in the authors' CIFAR script.
    """

    k: int = Field(default=50, ge=1)


def unit(features: Floats) -> Floats:
    """Return features scaled to length 1; [N, d]. A zero row stays zero.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    length = np.sqrt(np.square(features).sum(axis=1, keepdims=True))
    return np.asarray(features / np.maximum(length, np.finfo(features.dtype).tiny))


def score(features: Floats, bank: Floats, k: int = 50) -> Scores:
    """Return minus the distance to the k-th nearest row of the bank.

    Neighbours are found by matrix products of bounded size in the features' precision; the distance to the k-th one is
    then computed again from the difference in float64, because 2 - 2 cos loses all digits for close neighbours.

    Parameters
    ----------
    features : array [N, d]
        Of the samples to score.
    bank : array [M, d]
        All ID training features (not normalised).
    k : int
        1 .. M.

    Returns
    -------
    float64 array [N]
        In [-2, 0].

    Raises
    ------
    ReproodError
        When the bank has fewer than k rows.

    Examples
    --------
    >>> score(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), k=2)
    array([-1.41421356])
    """
    if not 1 <= k <= len(bank):
        raise ReproodError(
            f"k-nearest neighbours: k = {k} needs at least {max(k, 1)} training samples and k >= 1, there are "
            f"{len(bank)}; set its option k to a value from 1 to {len(bank)}."
        )
    known, queries = unit(bank), unit(features)
    result = np.empty(len(features), np.float64)
    for rows in blocks(len(features), max(1, BUDGET // len(bank))):
        similarity = queries[rows] @ known.T
        neighbour = np.argpartition(similarity, len(bank) - k, axis=1)[:, len(bank) - k]
        result[rows] = -lengths(queries[rows].astype(np.float64) - known[neighbour].astype(np.float64))
    return result


def _fit(reference: Reference, options: KnnOptions) -> Floats:
    if reference.train is None:
        raise TypeError("this detector needs the training split")
    return need(reference.train.features, "train_features")


def _score(outputs: Outputs, bank: Floats, options: KnnOptions) -> Scores:
    return score(need(outputs.features, "features"), bank, options.k)


DETECTOR = Detector(
    name="knn",
    label="KNN",
    paper=Paper(
        title="Out-of-Distribution Detection with Deep Nearest Neighbors",
        authors="Sun, Ming, Zhu, Li",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/2204.06507",
    ),
    formula="-|z / |z| - z_(k) / |z_(k)||, z_(k) the k-th nearest training feature",
    inputs=("features", "train_features"),
    score=_score,
    fit=_fit,
    options=KnnOptions,
)
