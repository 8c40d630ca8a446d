"""Largest logit. No torch.

D. Hendrycks et al.: Scaling Out-of-Distribution Detection for Real-World Settings, ICML 2022, arXiv 1911.11132.
"""

import numpy as np

from reprood.detectors.record import Detector, Floats, Paper, Scores


def maxlogit(logits: Floats) -> Scores:
    """Return the largest logit of each sample; [N, C] -> float64 [N].

    See Also
    --------
    reprood.detectors.msp.msp : The largest softmax probability.

    Examples
    --------
    >>> maxlogit(np.array([[1.0, 3.0], [2.0, -1.0]]))
    array([3., 2.])
    """
    return np.asarray(logits.max(axis=1), np.float64)


DETECTOR = Detector(
    name="maxlogit",
    label="MaxLogit",
    paper=Paper(
        title="Scaling Out-of-Distribution Detection for Real-World Settings",
        authors="Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt, Song",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/1911.11132",
    ),
    formula="max_c l_c",
    inputs=("logits",),
    score=lambda outputs, fitted, options: maxlogit(outputs.logits),
)
