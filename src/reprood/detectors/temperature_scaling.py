"""Temperature scaling: the maximum softmax probability at a fitted temperature. No torch.

C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599. T
minimises the cross-entropy of ID validation samples. The loss is convex in 1 / T, so that its minimum is found exactly;
the authors' code, OpenOOD and pytorch-ood stop after 50 steps of L-BFGS with a rate of 0.01, often before it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprood.detectors.arrays import by_logits, logsumexp, root, softmax
from reprood.detectors.record import Detector, Floats, Outputs, Paper, Reference, Scores

RANGE = (
    0.01,
    100.0,
)  # of T; an end is taken when the loss falls up to it, as when every sample is classified correctly


@dataclass(frozen=True)
class Temperature:
    """The temperature T."""

    temperature: float


def fit(logits: Floats, labels: NDArray[np.integer[Any]]) -> Temperature:
    """Return the temperature in `RANGE` with the smallest cross-entropy.

    Parameters
    ----------
    logits : array [N, C]
        Of ID validation samples.
    labels : int array [N]
        0 .. C - 1.

    Examples
    --------
    >>> round(fit(np.array([[4.0, 0.0]] * 3 + [[0.0, 4.0]]), np.array([0, 0, 0, 0])).temperature, 4)  # 4 / log 3
    3.641
    """
    own = float(np.take_along_axis(logits, labels[:, None], axis=1).mean(dtype=np.float64))

    def slope(log_inverse: float) -> float:
        """Return d loss / d (1 / T), which increases with log(1 / T)."""
        inverse = math.exp(log_inverse)
        expected = by_logits(lambda rows: np.einsum("ij,ij->i", softmax(rows * inverse), rows), logits)
        return float(expected.mean()) - own

    low, high = -math.log(RANGE[1]), -math.log(RANGE[0])
    if slope(low) >= 0:
        return Temperature(RANGE[1])
    if slope(high) <= 0:
        return Temperature(RANGE[0])
    return Temperature(math.exp(-root(slope, low, high)))


def score(logits: Floats, temperature: float) -> Scores:
    """Return log(p / (1 - p)) of the maximum softmax probability p at T; [N, C] -> float64 [N].

    It orders samples as p, which float64 rounds to 1 for many of them when T is small.

    Examples
    --------
    >>> score(np.array([[1.0, 1.0], [200.0, 0.0]]), 2.0)
    array([  0., 100.])
    """

    def rows(part: Scores) -> Scores:
        part /= temperature
        places = part.argmax(axis=1)[:, None]
        largest = np.take_along_axis(part, places, axis=1)
        np.put_along_axis(part, places, -np.inf, axis=1)
        return np.asarray(largest[:, 0] - logsumexp(part))

    return by_logits(rows, logits)


def _fit(reference: Reference, options: object) -> Temperature:
    if reference.validation_labels is None:
        raise TypeError("this detector needs labels of the validation samples")
    return fit(reference.validation.logits, reference.validation_labels)


def _score(outputs: Outputs, fitted: Temperature, options: object) -> Scores:
    return score(outputs.logits, fitted.temperature)


DETECTOR = Detector(
    name="temperature_scaling",
    label="TempScale",
    paper=Paper(
        title="On Calibration of Modern Neural Networks",
        authors="Guo, Pleiss, Sun, Weinberger",
        venue="ICML",
        year=2017,
        url="https://arxiv.org/abs/1706.04599",
    ),
    formula="log(p / (1 - p)), p = max_c softmax(l / T)_c, T = argmin of the cross-entropy on validation samples",
    inputs=("logits", "validation_labels"),
    score=_score,
    fit=_fit,
)
