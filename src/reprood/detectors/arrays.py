"""Arithmetic that several detectors share: float64, a bounded number of rows at a time. No torch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprood.detectors.record import Floats, Scores

AT_ONCE = 2**18  # logits in float64: 2 MiB stay in a cache, and large copies cost more than the arithmetic
ROWS = 8192  # feature rows in float64 at once


def blocks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover 0 .. count."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def by_rows(function: Callable[[NDArray[np.float64]], Scores], values: Floats, size: int) -> Scores:
    """Apply a function of some rows [b, d] in float64 -> [b] to all rows; float64 [N]."""
    result = np.empty(len(values), np.float64)
    for rows in blocks(len(values), max(1, size)):
        result[rows] = function(np.asarray(values[rows], np.float64))
    return result


def by_logits(function: Callable[[NDArray[np.float64]], Scores], logits: Floats) -> Scores:
    """Apply a function of some rows of logits [b, C] in float64 -> [b] to all rows; float64 [N]."""
    return by_rows(function, logits, AT_ONCE // max(1, logits.shape[1]))


def logsumexp(values: NDArray[Any]) -> Scores:
    """Return log sum_c exp(v_c) of each row, without overflow; [b, C] -> [b].

    Examples
    --------
    >>> logsumexp(np.array([[1000.0, 1000.0]])) - 1000
    array([0.69314718])
    """
    largest = values.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(values - largest).sum(axis=1)) + largest[:, 0])


def lengths(rows: NDArray[np.float64]) -> Scores:
    """Return the Euclidean length of each row; [b, d] -> [b]."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))
