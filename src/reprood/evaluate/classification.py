"""Metrics of ID classification, from stored ranks and confidences."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprood.core.errors import ReproodError

BINS = 15


def label_ranks(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """How many classes come before the right one: 0 = top-1 right. Ties go to the lower class number, as in argmax.

    Parameters
    ----------
    logits : array [n, C]
        One row a sample.
    labels : int array [n]
        0 .. C - 1.
    """
    values, right = np.asarray(logits), np.asarray(labels)
    own = np.take_along_axis(values, right[:, None], axis=1)
    earlier = np.arange(values.shape[1]) < right[:, None]
    return np.asarray(((values > own) | ((values == own) & earlier)).sum(axis=1), dtype=np.int64)


def top_k_error(ranks: ArrayLike, k: int) -> float:
    """Percentage of samples whose label is not among the k largest logits; k may exceed the number of classes (0 %).

    Parameters
    ----------
    ranks : int array [n]
        From `label_ranks`.
    k : int
        How many guesses are allowed.

    Raises
    ------
    ReproodError
        When there are no samples, a sample has no label (rank -1), or k < 1.
    """
    values = np.asarray(ranks)
    if values.size == 0 or k < 1:
        raise ReproodError(f"The top-{k} error needs k >= 1 and at least one sample, there are {values.size}.")
    if (values < 0).any():
        raise ReproodError(
            f"{int((values < 0).sum())} of {values.size} samples have no label; no error can be counted."
        )
    return 100.0 * float(np.count_nonzero(values >= k)) / values.size


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over bins of equal width, weighted by their sizes; in [0, 1].

    Bins are (lower, upper], the first one also holds 0 (Guo et al. 2017).

    Parameters
    ----------
    confidence : array [n]
        Probability of the predicted class, in [0, 1].
    right : bool array [n]
        Whether the prediction is right.
    bins : int
        Number of bins.

    Raises
    ------
    ReproodError
        When there are no samples or a confidence lies outside [0, 1].
    """
    values = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    if values.size == 0:
        raise ReproodError("The calibration error needs at least one sample.")
    if not ((values >= 0) & (values <= 1 + 1e-9)).all():
        raise ReproodError("The calibration error needs confidences in [0, 1]; give it maximum softmax probabilities.")
    place = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=hits - values, minlength=bins)
    return float(np.abs(gaps).sum() / values.size)
