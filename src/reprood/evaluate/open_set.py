"""Open-set recognition: classify what is known, reject what is not. No torch.

Known images have a label and a prediction of 0 .. K - 1; a confidence decides whether the prediction stands.
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
    """The confidence above which a prediction stands: a / K + (1 - a) - margin (DIAS' code, nothing is fitted).

    Parameters
    ----------
    classes : int
        K.
    target : float
        a: the smoothing of the labels of moderate fakes, in [0, 1].
    margin : float
    """
    if classes < 1:
        raise ReproodError(f"A threshold needs at least one class, not {classes}.")
    return target / classes + (1 - target) - margin


@dataclass(frozen=True)
class Answers:
    """What a run says about known and unknown test images.

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
    """Area under the rate of known images accepted with the right class over the rate of unknown images accepted.

    Both rates count confidences of at least a threshold; ties count one half (trapezoid rule). In [0, 1].

    Parameters
    ----------
    answers : Answers
    known, unknown : int array [..., n], [..., m], optional
        How often each image is in the (re)sample; default once. Leading axes are replicates.
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
    """Mean F1 of the labels that occur in truth or answer: the classes, and "unknown" up to `threshold`.

    Parameters
    ----------
    answers, known, unknown
        As in `oscr`.
    threshold : float
        In the confidence's unit.
    """
    of_known = np.ones(len(answers.known), np.int64) if known is None else known
    of_unknown = np.ones(len(answers.unknown), np.int64) if unknown is None else unknown
    rejected = answers.classes  # the number of the label "unknown"
    said = np.where(answers.known > threshold, answers.prediction, rejected)
    said_unknown = np.where(answers.unknown > threshold, answers.unknown_prediction, rejected)
    labels = np.arange(answers.classes + 1)
    truth = (answers.label[:, None] == labels).astype(np.float64)
    answer = (said[:, None] == labels).astype(np.float64)
    strange = (said_unknown[:, None] == labels).astype(np.float64)
    both = of_known @ (truth * answer)
    both[..., rejected] = of_unknown @ strange[:, rejected]
    found = of_known @ truth
    found[..., rejected] = of_unknown.sum(axis=-1)
    total = found + of_known @ answer + of_unknown @ strange
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
        Methods, and for each its seeds. All runs hold the same images in the same order.
    metric : {"oscr", "macro_f"}
    generator : numpy Generator
    replicates : int
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
    known: ArrayLike, label: ArrayLike, prediction: ArrayLike, unknown: ArrayLike, strange: ArrayLike, classes: int
) -> Answers:
    """Answers from columns, checked.

    Raises
    ------
    ReproodError
        When columns have different lengths, a confidence is not finite, or a label is none of the classes.
    """
    confidences = [np.asarray(values, dtype=np.float64) for values in (known, unknown)]
    numbers: list[NDArray[np.int64]] = [np.asarray(values, np.int64) for values in (label, prediction, strange)]
    if not len(confidences[0]) == len(numbers[0]) == len(numbers[1]) or len(confidences[1]) != len(numbers[2]):
        raise ReproodError("Open-set recognition needs a confidence, a label and a prediction of each known image.")
    if not all(np.isfinite(values).all() for values in confidences):
        raise ReproodError("Some confidences are not finite; predict the run again.")
    if len(numbers[0]) == 0 or len(numbers[2]) == 0 or numbers[0].min() < 0 or numbers[0].max() >= classes:
        raise ReproodError(f"Open-set recognition needs known images of 0 to {classes - 1}, and unknown ones.")
    return Answers(confidences[0], numbers[0], numbers[1], confidences[1], numbers[2], classes)
