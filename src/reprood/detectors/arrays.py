"""Arithmetic that several detectors share: float64, a bounded number of rows at a time. No torch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprood.detectors.record import Floats, Scores

AT_ONCE = 2**14  # logits in float64: 128 KiB, which stay in a cache
ROWS = 8192  # feature rows in float64 at once


def blocks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover 0 .. count."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def by_rows(function: Callable[[NDArray[np.float64]], Scores], values: Floats, size: int) -> Scores:
    """Apply a function of some rows [b, d] in float64 -> [b] to all rows; float64 [N].

    The function may overwrite its rows, which are a copy.
    """
    result = np.empty(len(values), np.float64)
    buffer = np.empty((min(max(1, size), len(values)), *values.shape[1:]), np.float64)
    for rows in blocks(len(values), max(1, size)):
        part = buffer[: rows.stop - rows.start]
        part[...] = values[rows]
        result[rows] = function(part)
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


def root(increasing: Callable[[float], float], low: float, high: float) -> float:
    """Return where an increasing function changes its sign between two points, to the last bits.

    Examples
    --------
    >>> round(root(lambda x: x * x - 2, 0, 2), 12)
    1.414213562373
    """
    from scipy.optimize import brentq  # not needed to import a detector

    return float(brentq(increasing, low, high, xtol=1e-300, rtol=1e-13))


def softmax(values: NDArray[np.float64]) -> Scores:
    """Return the softmax of each row, without overflow; [b, C] -> [b, C].

    Examples
    --------
    >>> softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def affine(weight: Floats, bias: Floats) -> Callable[[NDArray[np.float64]], Scores]:
    """Return the function z -> W z + b of rows [b, d] in float64; the layer is [C, d], [C]."""
    matrix, offset = weight.astype(np.float64).T, bias.astype(np.float64)
    return lambda rows: np.asarray(rows @ matrix + offset)


def lengths(rows: NDArray[np.float64]) -> Scores:
    """Return the Euclidean length of each row; [b, d] -> [b]."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))
