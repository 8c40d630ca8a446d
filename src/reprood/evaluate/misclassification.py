"""Detection of misclassified test images: right against wrong predictions, ranked by a score. No torch.

D. Hendrycks, K. Gimpel: A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks,
ICLR 2017. Wrong predictions take the place of OOD samples in every detection metric, as in the code of Outlier
Exposure and HOOD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import METRICS, Floats, Integers, Ranking, rank
from reprood.evaluate.predictions import Predictions
from reprood.evaluate.resample import Replicates, draw_counts

ERRORS = "errors"  # the split: wrong predictions on the test set, against right ones


@dataclass(frozen=True)
class Answers:
    """A run's score on the test images [n], and whether their predictions are right, bool [n]."""

    score: Floats
    right: NDArray[np.bool_]

    def ranking(self) -> Ranking:
        """Rank the right predictions against the wrong ones."""
        return rank(self.score[self.right], self.score[~self.right])


def errs(predictions: Predictions) -> bool:
    """Return whether some test predictions are right and some are wrong."""
    right = predictions.split("test")["label_rank"].to_numpy() == 0
    return bool(right.any() and not right.all())


def answered(predictions: Predictions, score: str) -> Answers:
    """Return a run's score on the test images.

    Raises
    ------
    ReproodError
        When all predictions are right, or all are wrong.
    """
    test = predictions.split("test")
    right = test["label_rank"].to_numpy() == 0
    if not errs(predictions):
        run = "/".join(str(predictions.facts[key]) for key in ("benchmark", "method", "seed"))
        raise ReproodError(
            f"{run}: {'all' if right.all() else 'no'} test predictions are right, so that errors cannot be detected; "
            "take the evaluation 'misclassification' out of the benchmark."
        )
    return Answers(test[f"score_{score}"].to_numpy(dtype=np.float64), right)


def misclassification_metrics(run: Answers) -> dict[str, float]:
    """Return every detection metric of right against wrong predictions.

    Examples
    --------
    >>> run = Answers(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]))
    >>> misclassification_metrics(run)["auroc"]
    0.75
    """
    counts = run.ranking().counts()
    return {name: float(metric(counts)) for name, metric in METRICS.items()}


def replicate_misclassification(
    arms: Sequence[Sequence[Answers]], metric: str, generator: np.random.Generator, replicates: int = 1000
) -> Replicates:
    """Resample the test images and compute a metric of right against wrong predictions for every run.

    All runs of a replicate see the same draw; the numbers of right and wrong predictions vary with it. A draw without
    one of the two (there are few errors) counts each of them once.

    Parameters
    ----------
    arms : sequence of sequences of Answers
        Methods, and the seeds of each, on the same test images.
    metric : str
        A key of `metrics.METRICS`.
    generator : numpy Generator
    replicates : int

    Raises
    ------
    ReproodError
        When runs hold different numbers of images.
    """
    sizes = {len(run.score) for arm in arms for run in arm}
    if len(sizes) != 1:
        raise ReproodError(f"Paired intervals need the same test images in every run, not {sorted(sizes)}.")
    (size,) = sizes
    ranked = [[(run.right, run.ranking()) for run in arm] for arm in arms]
    observed = [np.array([float(METRICS[metric](ranking.counts())) for _, ranking in arm]) for arm in ranked]
    resampled = [np.empty((replicates, len(arm))) for arm in arms]
    for row in range(replicates):
        drawn = draw_counts(generator, size, 1)[0]
        for arm, values in zip(ranked, resampled, strict=True):
            for seed, (right, ranking) in enumerate(arm):
                counts = ranking.counts(_some(drawn[right]), _some(drawn[~right]))
                values[row, seed] = METRICS[metric](counts)
    wrong = round(float(np.mean([(~run.right).sum() for arm in arms for run in arm])))
    return Replicates(observed, resampled, size - wrong, wrong)


def _some(counts: Integers) -> Integers:
    return counts if counts.any() else np.ones_like(counts)
