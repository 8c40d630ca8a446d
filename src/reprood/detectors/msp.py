"""Maximum softmax probability. No torch.

D. Hendrycks, K. Gimpel: A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks,
ICLR 2017, arXiv 1610.02136. Computed in float64: a float32 softmax saturates at 1 for confident networks and makes ties
that float64 does not have; published numbers mostly used float32.
"""

import numpy as np

from reprood.detectors.arrays import by_logits
from reprood.detectors.record import Detector, Floats, Paper, Scores


def msp(logits: Floats, temperature: float = 1.0) -> Scores:
    """Return the maximum softmax probability of each sample.

    Parameters
    ----------
    logits : array [N, C]
        Of any floating type.
    temperature : float
        T > 0; the softmax is of `logits / T`.

    Returns
    -------
    float64 array [N]
        In [1/C, 1].

    See Also
    --------
    reprood.detectors.maxlogit.maxlogit : The largest logit itself.
    reprood.detectors.energy.energy : Uses all logits.

    Examples
    --------
    >>> msp(np.array([[0.0, 0.0], [0.0, np.log(3.0)]]))
    array([0.5 , 0.75])
    """

    def rows(part: Scores) -> Scores:
        part /= temperature
        part -= part.max(axis=1, keepdims=True)
        return np.asarray(1.0 / np.exp(part, out=part).sum(axis=1))

    return by_logits(rows, logits)


DETECTOR = Detector(
    name="msp",
    label="MSP",
    paper=Paper(
        title="A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks",
        authors="Hendrycks, Gimpel",
        venue="ICLR",
        year=2017,
        url="https://arxiv.org/abs/1610.02136",
    ),
    formula="max_c softmax(l)_c",
    inputs=("logits",),
    score=lambda outputs, fitted, options: msp(outputs.logits),
)
