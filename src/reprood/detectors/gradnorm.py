"""GradNorm: the length of the gradient of the last layer's weight, in closed form. No torch.

R. Huang, A. Geng, Y. Li: On the Importance of Gradients for Detecting Distributional Shifts in the Wild, NeurIPS 2021,
arXiv 2110.00218. With an affine last layer, the gradient of -sum_c log softmax(l / T)_c is the outer
product of (C p - 1) / T and z, so that its L1 norm is a product of two sums and needs no backward pass. Like the
authors' code, the loss is summed over classes; pytorch-ood takes the mean, which divides the score by C.
"""

import numpy as np
from pydantic import Field

from reprood.detectors.arrays import by_logits, by_rows, softmax
from reprood.detectors.record import Detector, Floats, Options, Outputs, Paper, Scores, need

ROWS = 2**12  # feature rows in float64 at once


class GradnormOptions(Options):
    """Options of GradNorm.

    Attributes
    ----------
    temperature : float
        T > 0 of the softmax.
    """

    temperature: float = Field(default=1.0, gt=0)


def score(features: Floats, logits: Floats, temperature: float = 1.0) -> Scores:
    """Return |z|_1 sum_c |C p_c - 1| / T, p = softmax(l / T); [N, d], [N, C] -> float64 [N].

    Examples
    --------
    >>> score(np.array([[1.0, -2.0]]), np.array([[np.log(3.0), 0.0]]))  # p = (3/4, 1/4)
    array([3.])
    """
    classes = logits.shape[1]
    sharp = by_logits(lambda rows: np.abs(classes * softmax(rows / temperature) - 1).sum(axis=1), logits)
    return np.asarray(by_rows(lambda rows: np.abs(rows).sum(axis=1), features, ROWS) * sharp / temperature)


def _score(outputs: Outputs, fitted: None, options: GradnormOptions) -> Scores:
    return score(need(outputs.features, "features"), outputs.logits, options.temperature)


DETECTOR = Detector(
    name="gradnorm",
    label="GradNorm",
    paper=Paper(
        title="On the Importance of Gradients for Detecting Distributional Shifts in the Wild",
        authors="Huang, Geng, Li",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2110.00218",
    ),
    formula="|z|_1 sum_c |C p_c - 1| / T, p = softmax(l / T)",
    inputs=("logits", "features", "head"),
    score=_score,
    options=GradnormOptions,
)
