"""Entropy of the softmax, with opposite sign. No torch.

R. Chan, M. Rottmann, H. Gottschalk: Entropy Maximization and Meta Classification for Out-of-Distribution Detection in
Semantic Segmentation, ICCV 2021, arXiv 2012.06575, on the logits of a whole image. pytorch-ood clips
probabilities at 1e-7, which the definition does not.
"""

import numpy as np

from reprood.detectors.arrays import by_logits
from reprood.detectors.record import Detector, Floats, Paper, Scores


def entropy(logits: Floats) -> Scores:
    """Return sum_c p_c log p_c of the softmax p; [N, C] -> float64 [N], from -log C to 0.

    Examples
    --------
    >>> entropy(np.array([[0.0, 0.0]]))
    array([-0.69314718])
    """

    def rows(part: Scores) -> Scores:
        part -= part.max(axis=1, keepdims=True)
        exponentials = np.exp(part)
        total = exponentials.sum(axis=1)
        return np.asarray(np.einsum("ij,ij->i", exponentials, part) / total - np.log(total))

    return by_logits(rows, logits)


DETECTOR = Detector(
    name="entropy",
    label="Entropy",
    paper=Paper(
        title="Entropy Maximization and Meta Classification for Out-of-Distribution Detection in Semantic Segmentation",
        authors="Chan, Rottmann, Gottschalk",
        venue="ICCV",
        year=2021,
        url="https://arxiv.org/abs/2012.06575",
    ),
    formula="sum_c p_c log p_c, p = softmax(l)",
    inputs=("logits",),
    score=lambda outputs, fitted, options: entropy(outputs.logits),
)
