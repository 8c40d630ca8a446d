"""KL matching: the divergence of the softmax from the nearest typical softmax of a class. No torch.

D. Hendrycks et al.: Scaling Out-of-Distribution Detection for Real-World Settings, ICML 2022, arXiv 1911.11132. The
typical softmax of a class is the mean over the ID validation samples that the network assigns to it. A class to which
it assigns none has no typical softmax, as in pytorch-ood; their number is recorded.
"""

from dataclasses import dataclass

import numpy as np

from reprood.detectors.arrays import blocks, by_rows, softmax
from reprood.detectors.record import Detector, Floats, Outputs, Paper, Reference, Scores

ROWS = 2**10  # rows at once: a product with all typical distributions needs many


@dataclass(frozen=True)
class Typical:
    """Logarithms [K, C] of the typical distributions, and how many classes have none."""

    logarithms: Scores
    never_predicted: int


def fit(logits: Floats) -> Typical:
    """Return the mean softmax of each predicted class; logits [N, C] of ID validation samples.

    Probabilities below the smallest normal number count as that number, so that logarithms are finite.
    """
    classes = logits.shape[1]
    predicted = logits.argmax(axis=1)
    sums = np.zeros((classes, classes))
    for rows in blocks(len(logits), ROWS):
        sums += np.eye(classes)[predicted[rows]].T @ softmax(logits[rows].astype(np.float64))
    counts = np.bincount(predicted, minlength=classes)
    means = sums[counts > 0] / counts[counts > 0, None]
    return Typical(np.log(np.maximum(means, np.finfo(np.float64).tiny)), int((counts == 0).sum()))


def score(logits: Floats, typical: Typical) -> Scores:
    """Return minus the smallest KL(p || d_k) over classes; [N, C] -> float64 [N], at most 0.

    Examples
    --------
    >>> typical = fit(np.array([[3.0, 0.0], [0.0, 3.0]]))
    >>> score(np.array([[3.0, 0.0], [0.0, 0.0]]), typical).round(4)
    array([ 0.    , -0.8554])
    """
    transposed = np.ascontiguousarray(typical.logarithms.T)

    def rows(part: Scores) -> Scores:
        part -= part.max(axis=1, keepdims=True)
        p = np.exp(part)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        own = np.einsum("ij,ij->i", p, part) - np.log(total[:, 0])
        return np.asarray(np.minimum((p @ transposed).max(axis=1) - own, 0))

    return by_rows(rows, logits, ROWS)


def _fit(reference: Reference, options: object) -> Typical:
    return fit(reference.validation.logits)


def _score(outputs: Outputs, fitted: Typical, options: object) -> Scores:
    return score(outputs.logits, fitted)


DETECTOR = Detector(
    name="kl_matching",
    label="KL matching",
    paper=Paper(
        title="Scaling Out-of-Distribution Detection for Real-World Settings",
        authors="Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt, Song",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/1911.11132",
    ),
    formula="-min_k KL(softmax(l) || d_k), d_k the mean softmax of validation samples predicted as k",
    inputs=("logits",),
    score=_score,
    fit=_fit,
)
