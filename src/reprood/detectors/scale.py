"""SCALE: multiply all activations of a sample by a factor, then the energy score. No torch.

K. Xu, R. Chen, G. Franchi, A. Yao: Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement,
ICLR 2024, arXiv 2310.00227. The percentile is that of the authors' code (kai422/SCALE, `scale.yml`) and of
OpenOOD; pytorch-ood's is 65 by default. At least one activation counts as large.
"""

import numpy as np
from pydantic import Field

from reprood.detectors.arrays import affine, by_rows
from reprood.detectors.ash import ROWS, expansion, kept
from reprood.detectors.energy import energy
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, last_layer, need


class ScaleOptions(Options):
    """Options of SCALE.

    Attributes
    ----------
    percentile : float
        Of the activations of a sample, from which they count as large; in [0, 100).
    """

    percentile: float = Field(default=85.0, ge=0, lt=100)


def factor(rows: Scores, percentile: float) -> Scores:
    """Return exp(sum of all / sum of the largest) of each sample; [b, d] -> [b].

    Examples
    --------
    >>> np.log(factor(np.array([[1.0, 3.0, 2.0, 0.0]]), 50))
    array([1.2])
    """
    width = rows.shape[1]
    first = width - kept(width, percentile)
    return expansion(rows.sum(axis=1), np.partition(rows, first, axis=1)[:, first:].sum(axis=1))


def score(features: Floats, weight: Floats, bias: Floats, percentile: float = 85.0) -> Scores:
    """Return the energy of W r z + b, r the factor; [N, d] -> float64 [N]."""
    layer = affine(weight, bias)
    return by_rows(lambda rows: energy(layer(rows * factor(rows, percentile)[:, None])), features, ROWS)


def _fit(reference: Reference, options: ScaleOptions) -> tuple[Floats, Floats]:
    return last_layer(reference)


def _score(outputs: Outputs, head: tuple[Floats, Floats], options: ScaleOptions) -> Scores:
    return score(need(outputs.features, "features"), *head, options.percentile)


DETECTOR = Detector(
    name="scale",
    label="SCALE",
    paper=Paper(
        title="Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement",
        authors="Xu, Chen, Franchi, Yao",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2310.00227",
    ),
    formula="log sum_c exp(W z exp(sum z / sum z_k) + b)_c, z_k the largest activations of z",
    inputs=("features", "head"),
    score=_score,
    fit=_fit,
    options=ScaleOptions,
    fit_on_samples=False,
)
