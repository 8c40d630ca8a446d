"""Cross-entropy from the uniform distribution to the softmax. No torch.

D. Hendrycks, M. Mazeika, T. Dietterich: Deep Anomaly Detection with Outlier Exposure, ICLR 2019, arXiv 1812.04606; the
optional score of the authors' code (`--use_xent`), with the sign of a confidence.
"""

import numpy as np

from reprood.detectors.arrays import by_logits, logsumexp
from reprood.detectors.record import Detector, Floats, Paper, Scores


def oe_cross_entropy(logits: Floats) -> Scores:
    """Return log sum_c exp(l_c) - mean_c l_c of each sample; [N, C] -> float64 [N], at least log C.

    Examples
    --------
    >>> oe_cross_entropy(np.array([[2.0, 2.0]]))
    array([0.69314718])
    """
    return by_logits(lambda rows: np.asarray(logsumexp(rows) - rows.mean(axis=1)), logits)


DETECTOR = Detector(
    name="oe_cross_entropy",
    label="OE cross-entropy",
    paper=Paper(
        title="Deep Anomaly Detection with Outlier Exposure",
        authors="Hendrycks, Mazeika, Dietterich",
        venue="ICLR",
        year=2019,
        url="https://arxiv.org/abs/1812.04606",
    ),
    formula="log sum_c exp(l_c) - mean_c l_c",
    inputs=("logits",),
    score=lambda outputs, fitted, options: oe_cross_entropy(outputs.logits),
)
