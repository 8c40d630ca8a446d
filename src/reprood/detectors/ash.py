"""ASH: keep the largest activations of each sample, reshape them, then the energy score. No torch.

A. Djurisic, N. Bozanic, A. Ashok, R. Liu: Extremely Simple Activation Shaping for Out-of-Distribution Detection, ICLR
2023, arXiv 2209.09858. The defaults are those of the authors' configurations (andrijazz/ash:
`ash_s@90` after the average pooling); pytorch-ood's percentile is 65 by default. At least one activation is kept.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from reprood.core.errors import ReproodError
from reprood.detectors.arrays import affine, by_rows
from reprood.detectors.energy import energy
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Reference, Scores, last_layer, need

LARGEST = 700.0  # exponent in float64
ROWS = 2**12  # feature rows in float64 at once


class AshOptions(Options):
    """Options of ASH.

    Attributes
    ----------
    variant : "s", "p" or "b"
        ASH-S scales what is kept, ASH-P leaves it, ASH-B sets it to one value that preserves the sum.
    percentile : float
        Of the activations of a sample, below which they are set to zero; in [0, 100).
    """

    variant: Literal["s", "p", "b"] = "s"
    percentile: float = Field(default=90.0, ge=0, lt=100)


def kept(width: int, percentile: float) -> int:
    """Return how many of `width` activations are kept, at least one.

    Examples
    --------
    >>> kept(512, 90), kept(4, 90)
    (51, 1)
    """
    return max(1, width - int(np.round(width * percentile / 100)))


def expansion(total: Scores, part: Scores) -> Scores:
    """Return exp(total / part) of each sample; 1 where nothing is active.

    Raises
    ------
    ReproodError
        When it overflows, because too few activations are kept.
    """
    exponent = np.divide(total, part, out=np.zeros_like(total), where=part != 0)
    if exponent.max(initial=0) > LARGEST:
        raise ReproodError("ASH and SCALE: exp(sum / sum of the largest) overflows; set a lower percentile.")
    return np.asarray(np.exp(exponent))


def shape(rows: Scores, percentile: float, variant: str = "s") -> Scores:
    """Return shaped activations; [b, d] -> [b, d]. Of equal activations, the first are kept.

    Examples
    --------
    >>> shape(np.array([[1.0, 3.0, 2.0, 0.0]]), 50, "p"), shape(np.array([[1.0, 3.0, 2.0, 0.0]]), 50, "b")
    (array([[0., 3., 2., 0.]]), array([[0., 3., 3., 0.]]))
    """
    count = kept(rows.shape[1], percentile)
    places = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    values, total = np.take_along_axis(rows, places, axis=1), rows.sum(axis=1)
    if variant == "b":
        values = np.broadcast_to(total[:, None] / count, values.shape)
    elif variant == "s":
        values = values * expansion(total, values.sum(axis=1))[:, None]
    shaped = np.zeros_like(rows)
    np.put_along_axis(shaped, places, values, axis=1)
    return shaped


def score(features: Floats, weight: Floats, bias: Floats, options: AshOptions) -> Scores:
    """Return the energy of W ash(z) + b; [N, d] -> float64 [N]."""
    layer = affine(weight, bias)
    return by_rows(lambda rows: energy(layer(shape(rows, options.percentile, options.variant))), features, ROWS)


def _fit(reference: Reference, options: AshOptions) -> tuple[Floats, Floats]:
    return last_layer(reference)


def _score(outputs: Outputs, head: tuple[Floats, Floats], options: AshOptions) -> Scores:
    return score(need(outputs.features, "features"), *head, options)


DETECTOR = Detector(
    name="ash",
    label="ASH",
    paper=Paper(
        title="Extremely Simple Activation Shaping for Out-of-Distribution Detection",
        authors="Djurisic, Bozanic, Ashok, Liu",
        venue="ICLR",
        year=2023,
        url="https://arxiv.org/abs/2209.09858",
    ),
    formula="log sum_c exp(W z_k exp(sum z / sum z_k) + b)_c, z_k the largest activations of z",
    inputs=("features", "head"),
    score=_score,
    fit=_fit,
    options=AshOptions,
    fit_on_samples=False,
)
