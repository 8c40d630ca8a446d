"""ReAct: clip the penultimate activations from above, then the energy score. No torch.

Y. Sun, C. Guo, Y. Li: ReAct: Out-of-distribution Detection With Rectified Activations, NeurIPS 2021, arXiv 2111.12797.
"""

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from reprood.detectors.arrays import by_rows
from reprood.detectors.energy import energy
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, need

ROWS = 2**14  # feature rows in float64 at once


class ReactOptions(Options):
    """Options of ReAct.

    Attributes
    ----------
    percentile : float
        Of the validation activations, at which activations are clipped; in [0, 100].
    """

    percentile: float = Field(default=90.0, ge=0, le=100)


@dataclass(frozen=True)
class Clipping:
    """What is fitted: the largest activation, next to the last layer [C, d], [C]."""

    threshold: float
    weight: Floats
    bias: Floats


def threshold(features: Floats, percentile: float = 90.0) -> float:
    """Return a percentile (linear interpolation) of all entries of ID validation features [N, d].

    In float64, as `numpy.percentile` computes it, but without a float64 copy of all entries.

    Examples
    --------
    >>> threshold(np.array([[0.0, 1.0, 2.0, 4.0]]), 50)
    1.5
    """
    entries = features.reshape(-1)
    place = (len(entries) - 1) * (percentile / 100)
    below = math.floor(place)
    above = min(below + 1, len(entries) - 1)
    low, high = np.partition(entries, (below, above))[[below, above]].astype(np.float64)
    step, part = high - low, place - below
    return float(high - step * (1 - part) if part >= 0.5 else low + step * part)


def score(features: Floats, weight: Floats, bias: Floats, limit: float) -> Scores:
    """Return the energy of W min(z, limit) + b; [N, d] -> float64 [N]. An infinite limit gives the energy score."""
    matrix, offset = weight.astype(np.float64).T, bias.astype(np.float64)
    return by_rows(lambda rows: energy(np.minimum(rows, limit) @ matrix + offset), features, ROWS)


def _fit(reference: Reference, options: ReactOptions) -> Clipping:
    if reference.head is None:
        raise TypeError("this detector needs an affine last layer")
    return Clipping(threshold(need(reference.validation.features, "features"), options.percentile), *reference.head)


def _score(outputs: Outputs, fitted: Clipping, options: ReactOptions) -> Scores:
    return score(need(outputs.features, "features"), fitted.weight, fitted.bias, fitted.threshold)


DETECTOR = Detector(
    name="react",
    label="ReAct",
    paper=Paper(
        title="ReAct: Out-of-distribution Detection With Rectified Activations",
        authors="Sun, Guo, Li",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2111.12797",
    ),
    formula="log sum_c exp(W min(z, t) + b)_c, t a percentile of validation activations",
    inputs=("features", "head"),
    score=_score,
    fit=_fit,
    options=ReactOptions,
)
