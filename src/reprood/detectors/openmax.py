"""OpenMax: logits reduced by how far a sample lies in the tail of each class; the rest is an unknown class. No torch.

A. Bendale, T. Boult: Towards Open Set Deep Networks, CVPR 2016, arXiv 1511.06233. The defaults are
those of the authors' code (abhijitbendale/OSDN): tails of 20, ten revised classes, distance |l - m| / 200 plus the
cosine distance, means and tails of correctly classified training samples. LibMR's fit is repeated: the distances of a
tail, less the smallest and plus 10,000, get the Weibull distribution of the largest likelihood. OpenOOD revises three
classes; pytorch-ood 0.4 uses all training samples, the Euclidean distance and tails of 25, and takes the distance to a
class that no sample of the batch is predicted as for zero, so that its scores depend on the batch. A class without a
correctly classified training sample rejects everything; the number of such classes is recorded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reprood.detectors.arrays import by_logits, lengths, logsumexp, root
from reprood.detectors.record import (
    Detector,
    Floats,
    Options,
    Outputs,
    Paper,
    Reference,
    Scores,
    training,
    training_labels,
)

SHIFT = 10_000.0  # LibMR's


class OpenmaxOptions(Options):
    """Options of OpenMax.

    Attributes
    ----------
    tail : int
        Largest distances of a class that are fitted.
    classes : int
        alpha: how many of the largest logits are revised; all when there are fewer.
    euclidean, cosine : float
        Weights of the two distances.
    """

    tail: int = Field(default=20, ge=2)
    classes: int = Field(default=10, ge=1)
    euclidean: float = Field(default=1 / 200, ge=0)
    cosine: float = Field(default=1.0, ge=0)


@dataclass(frozen=True)
class Tails:
    """Means [C, C] of the logits, and smallest distance, shape and scale [C] of the tails.

    A class without a mean has the smallest distance -inf; a tail of equal distances has the shape inf.
    """

    means: Scores
    smallest: Scores
    shapes: Scores
    scales: Scores
    without_tail: int


def weibull(values: Scores) -> tuple[float, float]:
    """Return shape and scale of the Weibull distribution with the largest likelihood; values > 0, [n].

    Examples
    --------
    >>> from scipy.stats import weibull_min
    >>> shape, scale = weibull(weibull_min.rvs(2, scale=3, size=100_000, random_state=0))
    >>> round(shape, 1), round(scale, 1)
    (2.0, 3.0)
    """
    logs = np.log(values / values.max())
    spread = float(-logs.min())
    if spread == 0:
        return np.inf, float(values.max())

    def slope(shape: float) -> float:
        powers = np.exp(shape * logs)
        return float((powers @ logs) / powers.sum() - 1 / shape - logs.mean())

    low = high = 1 / spread
    while slope(low) > 0:
        low /= 2
    while slope(high) < 0:
        high *= 2
    shape = root(slope, low, high)
    return shape, float(values.max() * np.mean(np.exp(shape * logs)) ** (1 / shape))


def distances(rows: Scores, means: Scores, options: OpenmaxOptions) -> Scores:
    """Return the distances of each row from its means; [b, C], [b or 1, a, C] -> [b, a]."""
    products = np.einsum("bj,baj->ba", rows, means)
    sizes, others = lengths(rows)[:, None], np.sqrt(np.einsum("baj,baj->ba", means, means))
    squares = np.maximum(np.square(sizes) + np.square(others) - 2 * products, 0)
    directions = products / np.maximum(sizes * others, np.finfo(np.float64).tiny)
    return np.asarray(options.euclidean * np.sqrt(squares) + options.cosine * (1 - directions))


def fit(logits: Floats, labels: NDArray[np.integer[Any]], options: OpenmaxOptions) -> Tails:
    """Fit means and tails to the logits [N, C] of ID training samples with labels [N]."""
    classes, predicted = logits.shape[1], logits.argmax(axis=1)
    means, parameters = np.zeros((classes, classes)), np.full((3, classes), [[-np.inf], [1.0], [1.0]])
    for number in range(classes):
        own = logits[(predicted == labels) & (labels == number)].astype(np.float64)
        if len(own):
            means[number] = own.mean(axis=0)
            tail = np.sort(distances(own, means[None, number : number + 1], options)[:, 0])[-options.tail :]
            parameters[:, number] = tail[0], *weibull(tail - tail[0] + SHIFT)
    return Tails(means, parameters[0], parameters[1], parameters[2], int(np.isinf(parameters[0]).sum()))


def outlying(far: Scores, places: NDArray[np.integer[Any]], tails: Tails) -> Scores:
    """Return the probability that a sample at a distance from a class lies outside of it; [b, a], [b, a] -> [b, a]."""
    shapes = tails.shapes[places]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = np.maximum(far - tails.smallest[places] + SHIFT, 0) / tails.scales[places]
        power = np.exp(shapes * np.log(ratio))
    return np.asarray(np.where(np.isinf(shapes), ratio > 1, -np.expm1(-np.nan_to_num(power))))


def score(logits: Floats, tails: Tails, options: OpenmaxOptions) -> Scores:
    """Return log P(known) - log P(unknown) of the revised logits; [N, C] -> float64 [N].

    It orders samples as 1 - P(unknown), which float64 rounds to 0 or 1 for many of them.

    Examples
    --------
    >>> train = 9 * np.eye(2)[[0, 0, 0, 1, 1, 1]] + np.arange(6)[:, None] % 3
    >>> tails = fit(train, np.array([0, 0, 0, 1, 1, 1]), OpenmaxOptions())
    >>> score(np.array([[10.0, 1.0], [40.0, 1.0]]), tails, OpenmaxOptions()).round(1)
    array([  8.2, -39.5])
    """
    revised = min(options.classes, logits.shape[1])
    weights = np.arange(revised, 0, -1) / revised

    def rows(part: Scores) -> Scores:
        places = np.argpartition(part, part.shape[1] - revised, axis=1)[:, part.shape[1] - revised :]
        order = np.argsort(-np.take_along_axis(part, places, axis=1), axis=1, kind="stable")
        places = np.take_along_axis(places, order, axis=1)
        values = np.take_along_axis(part, places, axis=1)
        far = distances(part, tails.means[places], options)
        removed = values * outlying(far, places, tails) * weights
        kept = part.copy()
        np.put_along_axis(kept, places, values - removed, axis=1)
        return np.asarray(logsumexp(kept) - removed.sum(axis=1))

    return by_logits(rows, logits)


def _fit(reference: Reference, options: OpenmaxOptions) -> Tails:
    train, labels = training(reference), training_labels(reference)
    return fit(train.logits, labels, options)


def _score(outputs: Outputs, fitted: Tails, options: OpenmaxOptions) -> Scores:
    return score(outputs.logits, fitted, options)


DETECTOR = Detector(
    name="openmax",
    label="OpenMax",
    paper=Paper(
        title="Towards Open Set Deep Networks",
        authors="Bendale, Boult",
        venue="CVPR",
        year=2016,
        url="https://arxiv.org/abs/1511.06233",
    ),
    formula="log P(known) - log P(unknown), softmax of logits revised by Weibull tails of distances to class means",
    inputs=("logits", "train_logits"),
    score=_score,
    fit=_fit,
    options=OpenmaxOptions,
)
