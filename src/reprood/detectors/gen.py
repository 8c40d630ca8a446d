"""Generalized entropy of the softmax. No torch.

X. Liu, Y. Lochman, C. Zach: GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection, CVPR 2023. The
defaults are those of the authors' code (XixiLiu95/GEN, `benchmark.py`) and of OpenOOD. pytorch-ood takes the mean
instead of the sum, of all classes by default, and clips probabilities to [1e-7, 1 - 1e-7].
"""

import numpy as np
from pydantic import Field

from reprood.detectors.arrays import AT_ONCE, blocks, logsumexp
from reprood.detectors.record import Detector, Floats, Options, Paper, Scores


class GenOptions(Options):
    """Options of GEN.

    Attributes
    ----------
    gamma : float
        Exponent in (0, 1).
    classes : int
        M: how many of the largest probabilities are summed; all when there are fewer classes.
    """

    gamma: float = Field(default=0.1, gt=0, lt=1)
    classes: int = Field(default=100, ge=1)


def gen(logits: Floats, gamma: float = 0.1, classes: int = 100) -> Scores:
    """Return minus sum_c p_c^gamma (1 - p_c)^gamma over the largest probabilities; [N, C] -> float64 [N].

    Examples
    --------
    >>> gen(np.array([[0.0, 0.0]]), gamma=0.5)
    array([-1.])
    """
    result, count = np.empty(len(logits), np.float64), logits.shape[1]
    for rows in blocks(len(logits), max(1, AT_ONCE // count)):
        part = logits[rows]
        largest = np.partition(part, count - classes, axis=1)[:, count - classes :] if classes < count else part
        p = np.exp(largest.astype(np.float64) - logsumexp(part.astype(np.float64))[:, None])
        result[rows] = -np.power(p * np.maximum(1 - p, 0), gamma).sum(axis=1)
    return result


DETECTOR = Detector(
    name="gen",
    label="GEN",
    paper=Paper(
        title="GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection",
        authors="Liu, Lochman, Zach",
        venue="CVPR",
        year=2023,
        url="https://openaccess.thecvf.com/content/CVPR2023/html/Liu_GEN_Pushing_the_Limits_of_Softmax-Based_Out-of-Distribution_Detection_CVPR_2023_paper.html",
    ),
    formula="-sum_c p_c^gamma (1 - p_c)^gamma over the M largest p = softmax(l)",
    inputs=("logits",),
    score=lambda outputs, fitted, options: gen(outputs.logits, options.gamma, options.classes),
    options=GenOptions,
)
