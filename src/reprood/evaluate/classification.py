"""Metrics of ID classification, from stored ranks and confidences. No torch."""

import numpy as np
from numpy.typing import ArrayLike

from reprood.core.errors import ReproodError

BINS = 15


def top_k_error(ranks: ArrayLike, k: int) -> float:
    """Return the percentage of samples whose label is not among the k largest logits.

    Parameters
    ----------
    ranks : int array [n]
        How many classes come before the right one: `label_rank` of the predictions.
    k : int
        How many guesses are allowed; may exceed the number of classes (0 %).

    Raises
    ------
    ReproodError
        When there are no samples, a sample has no label (rank -1), or k < 1.

    Examples
    --------
    >>> top_k_error([0, 0, 1, 7], k=1), top_k_error([0, 0, 1, 7], k=5)
    (50.0, 25.0)
    """
    values = np.asarray(ranks)
    if values.size == 0 or k < 1:
        raise ReproodError(f"The top-{k} error needs k >= 1 and at least one sample, there are {values.size}.")
    if (values < 0).any():
        raise ReproodError(
            f"{int((values < 0).sum())} of {values.size} samples have no label; no error can be computed."
        )
    return 100.0 * float(np.count_nonzero(values >= k)) / values.size


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width, weighted by their sizes; in [0, 1].

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

    Examples
    --------
    >>> round(expected_calibration_error([0.9, 0.9], [True, False]), 6)
    0.4
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
