"""Open-set recognition: classify known images, reject unknown ones. No torch.

Known images have a label and a prediction of 0 .. K - 1; a confidence decides whether the prediction is accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import Floats, Integers, Workspace, rank
from reprood.evaluate.resample import Replicates, draw_counts

UNKNOWN = -1
TARGET, MARGIN = 0.5, 0.05
BLOCK = 100  # replicates at a time


def acceptance_threshold(classes: int, target: float = TARGET, margin: float = MARGIN) -> float:
    """Return the confidence above which a prediction is accepted: a / K + (1 - a) - margin (DIAS' code).

    Nothing is fitted.

    Parameters
    ----------
    classes : int
        K.
    target : float
        a: the smoothing of the labels of moderate fakes, in [0, 1].
    margin : float
        Subtracted.

    Examples
    --------
    >>> round(acceptance_threshold(4), 6)
    0.575
    """
    if classes < 1:
        raise ReproodError(f"A threshold needs at least one class, not {classes}.")
    return target / classes + (1 - target) - margin


@dataclass(frozen=True)
class Answers:
    """A run's answers on known and unknown test images.

    Attributes
    ----------
    known : float array [n]
        Confidence of known images; higher = more known.
    label, prediction : int array [n]
        Right class and the most probable one, 0 .. K - 1.
    unknown : float array [m]
        Confidence of unknown images.
    unknown_prediction : int array [m]
        Their most probable class.
    classes : int
        K.
    """

    known: Floats
    label: Integers
    prediction: Integers
    unknown: Floats
    unknown_prediction: Integers
    classes: int


def oscr(answers: Answers, known: Integers | None = None, unknown: Integers | None = None) -> Floats:
    """Return the area under the rate of known images accepted with the right class over that of unknown ones accepted.

    Both rates count confidences of at least a threshold; ties count one half (trapezoid rule). In [0, 1].

    Parameters
    ----------
    answers : Answers
        Of known and unknown images.
    known, unknown : int array [..., n], [..., m], optional
        How often each image is in the (re)sample; default once. Leading axes are replicates.

    See Also
    --------
    reprood.evaluate.metrics.auroc : The same when every known image is classified right.

    Examples
    --------
    >>> one = answers_of([0.9, 0.8], [0, 1], [0, 0], [0.1], [1], classes=2)
    >>> float(oscr(one))
    0.5
    """
    of_known = np.ones(len(answers.known), np.int64) if known is None else known
    of_unknown = np.ones(len(answers.unknown), np.int64) if unknown is None else unknown
    work: Workspace = {}
    right = of_known * (answers.label == answers.prediction)
    counts = rank(answers.known, answers.unknown).counts(right, of_unknown, work)
    rate = _from_zero(counts.of_id / of_known.sum(axis=-1)[..., None])
    false = _from_zero(counts.of_ood / of_unknown.sum(axis=-1)[..., None])
    return np.asarray(np.trapezoid(rate, false, axis=-1))


def _from_zero(values: Floats) -> Floats:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)


def macro_f(
    answers: Answers, threshold: float, known: Integers | None = None, unknown: Integers | None = None
) -> Floats:
    """Return the mean F1 of the labels that occur in truth or answer: the classes, and "unknown" up to `threshold`.

    Parameters
    ----------
    answers, known, unknown
        As in `oscr`.
    threshold : float
        In the confidence's unit.

    Examples
    --------
    >>> one = answers_of([0.9, 0.8], [0, 1], [0, 1], [0.1], [1], classes=2)
    >>> float(macro_f(one, threshold=0.5))
    1.0
    """
    of_known = np.ones(len(answers.known), np.int64) if known is None else known
    of_unknown = np.ones(len(answers.unknown), np.int64) if unknown is None else unknown
    rejected = answers.classes  # the number of the label "unknown"
    accepted = np.where(answers.known > threshold, answers.prediction, rejected)
    accepted_unknown = np.where(answers.unknown > threshold, answers.unknown_prediction, rejected)
    labels = np.arange(answers.classes + 1)
    truth = (answers.label[:, None] == labels).astype(np.float64)
    answer = (accepted[:, None] == labels).astype(np.float64)
    answer_unknown = (accepted_unknown[:, None] == labels).astype(np.float64)
    both = of_known @ (truth * answer)
    both[..., rejected] = of_unknown @ answer_unknown[:, rejected]
    in_truth = of_known @ truth
    in_truth[..., rejected] = of_unknown.sum(axis=-1)
    total = in_truth + of_known @ answer + of_unknown @ answer_unknown
    with np.errstate(invalid="ignore"):
        scores = np.where(total > 0, 2 * both / np.where(total > 0, total, 1), np.nan)
    return np.asarray(np.nanmean(scores, axis=-1))


def replicate_open_set(
    arms: Sequence[Sequence[Answers]],
    metric: str,
    generator: np.random.Generator,
    replicates: int = 1000,
    threshold: float = 0.0,
) -> Replicates:
    """Resample known and unknown test images and compute `oscr` or `macro_f` of every run.

    Parameters
    ----------
    arms : sequence of sequences of Answers
        Methods, and the seeds of each. All runs hold the same images in the same order.
    metric : {"oscr", "macro_f"}
        What is computed.
    generator : numpy Generator
        Draws the resamplings.
    replicates : int
        Number of resamplings.
    threshold : float
        For `macro_f`.

    Raises
    ------
    ReproodError
        When runs hold different numbers of images.
    """
    sizes = {(len(run.known), len(run.unknown)) for arm in arms for run in arm}
    if len(sizes) != 1:
        raise ReproodError(f"Paired intervals need the same test images in every run, not {sorted(sizes)}.")
    ((n, m),) = sizes

    def value(run: Answers, known: Integers | None = None, unknown: Integers | None = None) -> Floats:
        return oscr(run, known, unknown) if metric == "oscr" else macro_f(run, threshold, known, unknown)

    first, second = generator.spawn(2)
    resampled = [np.empty((replicates, len(arm))) for arm in arms]
    for start in range(0, replicates, BLOCK):
        rows = slice(start, min(start + BLOCK, replicates))
        known = draw_counts(first, n, rows.stop - start)
        unknown = draw_counts(second, m, rows.stop - start)
        for arm, values in zip(arms, resampled, strict=True):
            for seed, run in enumerate(arm):
                values[rows, seed] = value(run, known, unknown)
    observed = [np.array([float(value(run)) for run in arm]) for arm in arms]
    return Replicates(observed, resampled, n, m)


def answers_of(
    known: ArrayLike,
    label: ArrayLike,
    prediction: ArrayLike,
    unknown: ArrayLike,
    unknown_prediction: ArrayLike,
    classes: int,
) -> Answers:
    """Return answers from columns, checked.

    Raises
    ------
    ReproodError
        When columns have different lengths, a confidence is not finite, or a label is none of the classes.
    """
    confidences = [np.asarray(values, dtype=np.float64) for values in (known, unknown)]
    classified = (label, prediction, unknown_prediction)
    numbers: list[NDArray[np.int64]] = [np.asarray(values, np.int64) for values in classified]
    if not len(confidences[0]) == len(numbers[0]) == len(numbers[1]) or len(confidences[1]) != len(numbers[2]):
        raise ReproodError("Open-set recognition needs a confidence, a label and a prediction for each known image.")
    if not all(np.isfinite(values).all() for values in confidences):
        raise ReproodError("Some confidences are not finite; predict the run again.")
    if len(numbers[0]) == 0 or len(numbers[2]) == 0 or numbers[0].min() < 0 or numbers[0].max() >= classes:
        raise ReproodError(f"Open-set recognition needs known images of 0 to {classes - 1}, and unknown ones.")
    return Answers(confidences[0], numbers[0], numbers[1], confidences[1], numbers[2], classes)
