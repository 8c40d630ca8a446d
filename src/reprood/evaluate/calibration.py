"""Calibration of the confidence in predictions, also after temperature scaling. No torch.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On Calibration of Modern Neural Networks, ICML 2017. The temperature is
fitted on the validation images, which are never test images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from reprood.core.errors import ReproodError
from reprood.evaluate.classification import expected_calibration_error
from reprood.evaluate.metrics import Floats
from reprood.evaluate.outputs import Raw
from reprood.evaluate.predictions import Predictions
from reprood.evaluate.resample import Replicates, draw_counts

PLAIN, SCALED = "msp", "msp_scaled"  # scores: the softmax of the logits, and of the logits over the temperature
BIN = 100  # samples
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Confidence:
    """A run's confidence in its prediction on each test image [n], in [0, 1], and whether it is right, bool [n]."""

    values: Floats
    right: NDArray[np.bool_]


def rms_calibration_error(confidence: ArrayLike, right: ArrayLike, size: int = BIN) -> float:
    """Return the root of the mean squared gap between confidence and accuracy, in bins of `size` samples; in [0, 1].

    Samples are sorted by confidence; the last bin holds the rest, and each bin weighs as its samples (Hendrycks et al.
    2019). The published code of that paper leaves the last bin, of the highest confidences, out of the sum.

    Raises
    ------
    ReproodError
        When there are no samples.

    Examples
    --------
    >>> round(rms_calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False], size=2), 6)
    0.1
    """
    values, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if values.size == 0:
        raise ReproodError("The calibration error needs at least one sample.")
    order = np.argsort(values, kind="stable")
    starts = np.arange(max(values.size // size, 1)) * size
    gaps = np.add.reduceat((hits - values)[order], starts)
    sizes = np.diff([*starts, values.size])
    return float(np.sqrt(np.sum(gaps**2 / sizes) / values.size))


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature T that minimises the cross-entropy of softmax(logits / T), from 0.05 to 20.

    Parameters
    ----------
    logits : array [N, C]
        Of validation images.
    labels : int array [N]

    Examples
    --------
    >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    >>> round(fit_temperature(logits, np.array([0, 0, 1, 1])), 3)  # three of four are right: 4 / log(3)
    3.641
    """

    def loss(logarithm: float) -> float:
        scale = exp(-logarithm)
        scaled = scale * logits.astype(np.float64)
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]))

    low, high = TEMPERATURES
    found = minimize_scalar(loss, bounds=(log(low), log(high)), method="bounded", options={"xatol": 1e-6})
    return exp(float(found.x))


METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "ece15": expected_calibration_error,
    "rms_calibration_error": rms_calibration_error,
}


def temperature_of(predictions: Predictions, raw: Raw) -> float:
    """Return the temperature that is fitted on a run's validation images."""
    labels = predictions.split("validation")["label"].to_numpy()
    return fit_temperature(raw.reference.validation.logits, labels)


def confidence_of(predictions: Predictions, raw: Raw, score: str) -> Confidence:
    """Return a run's confidence on the test images.

    Parameters
    ----------
    predictions : Predictions
    raw : Raw
        Its logits.
    score : {"msp", "msp_scaled"}

    Raises
    ------
    ReproodError
        For another score.
    """
    if score not in (PLAIN, SCALED):
        raise ReproodError(f"The calibration of '{score}' is not measured; expected {PLAIN} or {SCALED}.")
    temperature = 1.0 if score == PLAIN else temperature_of(predictions, raw)
    right = predictions.split("test")["label_rank"].to_numpy() == 0
    scaled = raw.splits["test"].logits.astype(np.float64) / temperature
    return Confidence(np.exp(scaled.max(axis=1) - logsumexp(scaled, axis=1)), right)


def replicate_calibration(
    arms: Sequence[Sequence[Confidence]], metric: str, generator: np.random.Generator, replicates: int = 1000
) -> Replicates:
    """Resample the test images and compute a calibration error of every run; all runs see the same draw.

    The temperature stays as it was fitted.

    Raises
    ------
    ReproodError
        When runs hold different numbers of images.
    """
    sizes = {len(run.values) for arm in arms for run in arm}
    if len(sizes) != 1:
        raise ReproodError(f"Paired intervals need the same test images in every run, not {sorted(sizes)}.")
    (size,) = sizes
    function = METRICS[metric]
    observed = [np.array([function(run.values, run.right) for run in arm]) for arm in arms]
    resampled = [np.empty((replicates, len(arm))) for arm in arms]
    for row in range(replicates):
        rows = np.repeat(np.arange(size), draw_counts(generator, size, 1)[0])
        for arm, values in zip(arms, resampled, strict=True):
            values[row] = [function(run.values[rows], run.right[rows]) for run in arm]
    return Replicates(observed, resampled, size, 0)
