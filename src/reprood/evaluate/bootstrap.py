"""Bootstrap intervals of metrics and of differences between methods, over test samples and training seeds.

Differences are paired over samples: all runs of a replicate see the same resampled images. Seeds are resampled for each
method by itself, because the trainings of two methods with equal seed numbers share nothing; two scores of the same
trained models share their seeds.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import Floats
from reprood.evaluate.resample import Replicates, Scores, replicate_detection, replicate_errors

Method = Literal["t", "percentile"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty.

    Attributes
    ----------
    estimate : float
        The value on the data as they are.
    low, high : float
        Ends of the interval.
    level : float
        Nominal coverage.
    standard_error : float
    replicates : int
    n_seeds : int
        Smallest number of seeds among the methods; with 1 the interval covers the test samples only, not training.
    n_id, n_ood : int
        Test samples: in-distribution, and over all OOD sets.
    freedom : float
        Degrees of freedom of the standard error (method "t").
    strict_freedom : float
        The same, at most those of the trainings: for p values far below 5 %, as a correction for many comparisons asks.
        Satterthwaite's are right on average, but when a few trainings agree by luck they grow to those of the images.
    """

    estimate: float
    low: float
    high: float
    level: float
    standard_error: float
    replicates: int
    n_seeds: int
    n_id: int
    n_ood: int
    freedom: float = math.inf
    strict_freedom: float = math.inf

    def above(self, bound: float, strict: bool = False) -> float:
        """P value of "the value is at most `bound`", against its being above; one-sided, in [0, 1]."""
        gap = self.estimate - bound
        if self.standard_error == 0:
            return 0.0 if gap > 0 else 1.0
        return float(stats.t.sf(gap / self.standard_error, self.strict_freedom if strict else self.freedom))

    def below(self, bound: float, strict: bool = False) -> float:
        """P value of "the value is at least `bound`", against its being below."""
        gap = self.estimate - bound
        if self.standard_error == 0:
            return 0.0 if gap < 0 else 1.0
        return float(stats.t.cdf(gap / self.standard_error, self.strict_freedom if strict else self.freedom))


def contrast(
    found: Replicates,
    weights: Sequence[float],
    generator: np.random.Generator,
    level: float = 0.95,
    method: Method = "t",
    trainings: Sequence[Hashable] | None = None,
) -> Interval:
    """Interval of a weighted sum over methods of the mean over seeds, for instance (1, -1) for a difference.

    Parameters
    ----------
    found : Replicates
        From `replicate_detection` or `replicate_errors`.
    weights : sequence of float
        One a method.
    generator : numpy Generator
        Draws seeds (method "percentile").
    level : float
        Nominal coverage.
    method : {"t", "percentile"}
        "t": estimate +- t * standard error. The variance is that between seeds (s^2 / S for each method) plus that of
        the test samples (bootstrap, seeds as they are); degrees of freedom by Satterthwaite. Holds its level with three
        seeds. The interval is symmetric and may reach beyond the metric's range.
        "percentile": quantiles of replicates that also resample seeds, S - 1 out of S with replacement, which makes the
        variance between seeds unbiased (Rao & Wu 1988). Too narrow with few seeds: three seeds give six means.
        With one seed nothing is known of training, and either covers the test samples only.
    trainings : sequence, optional
        One name an entry of `found`: entries with equal names are scores of the same trained models (two detectors on
        one network), so that their seeds are paired. Default: all differ.

    Raises
    ------
    ReproodError
        When the number of weights or names is not that of methods, when scores of the same trainings have different
        numbers of seeds, or when there are fewer than two replicates.
    """
    replicates = len(found.resampled[0])
    observed, resampled = _by_training(found, weights, trainings)
    if replicates < 2:
        raise ReproodError("An interval needs at least two replicates.")
    estimate = float(sum(values.mean() for values in observed))
    seeds = [len(values) for values in observed]
    of_samples = float(np.sum([values.mean(axis=1) for values in resampled], axis=0).var(ddof=1))
    of_seeds = [float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0 for values in observed]
    error = float(np.sqrt(of_samples + sum(of_seeds)))
    freedom = _freedom(of_samples, found.n_id, of_seeds, seeds)
    if method == "t":
        half = error * float(stats.t.ppf(0.5 + level / 2, freedom)) if error > 0 else 0.0
        low, high = estimate - half, estimate + half
    else:
        drawn = np.zeros(replicates)
        for values, stream in zip(resampled, generator.spawn(len(seeds))):
            count = values.shape[1]
            chosen = stream.integers(0, count, size=(replicates, max(count - 1, 1)))
            drawn += np.take_along_axis(values, chosen, axis=1).mean(axis=1)
        tail = (1 - level) / 2
        low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    strict = min(freedom, sum(count - 1 for count in seeds) or math.inf)
    return Interval(estimate, low, high, level, error, replicates, min(seeds), found.n_id, found.n_ood, freedom, strict)


def _by_training(
    found: Replicates, weights: Sequence[float], trainings: Sequence[Hashable] | None
) -> tuple[list[Floats], list[Floats]]:
    """Weighted values, those of the same trained models added up seed by seed."""
    names = list(range(len(weights))) if trainings is None else list(trainings)
    if not len(weights) == len(names) == len(found.observed):
        raise ReproodError(
            f"A contrast of {len(found.observed)} methods needs as many weights and names of trainings, not "
            f"{len(weights)} and {len(names)}."
        )
    observed: dict[Hashable, Floats] = {}
    resampled: dict[Hashable, Floats] = {}
    for name, weight, values, table in zip(names, weights, found.observed, found.resampled):
        if name in observed and len(observed[name]) != len(values):
            raise ReproodError(
                f"Scores of the same trainings ({name}) have {len(observed[name])} and {len(values)} seeds."
            )
        observed[name] = observed.get(name, 0.0) + weight * values
        resampled[name] = resampled.get(name, 0.0) + weight * table
    return list(observed.values()), list(resampled.values())


def _freedom(of_samples: float, n: int, of_seeds: Sequence[float], seeds: Sequence[int]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances; infinite when all are 0."""
    parts = [(of_samples, max(n - 1, 1)), *((v, s - 1) for v, s in zip(of_seeds, seeds) if s > 1)]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return math.inf
    return total**2 / sum(variance**2 / degrees for variance, degrees in parts)


def bootstrap_interval(
    runs: Sequence[Scores],
    metric: str,
    generator: np.random.Generator,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    method: Method = "t",
) -> Interval:
    """Interval of a method's detection metric: mean over OOD sets and seeds; see `contrast` for the methods."""
    found = replicate_detection([runs], metric, generator, replicates)
    return contrast(found, [1.0], generator, level, method)


def bootstrap_difference(
    first: Sequence[Scores],
    second: Sequence[Scores],
    metric: str,
    generator: np.random.Generator,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    method: Method = "t",
) -> Interval:
    """Interval of first minus second: a detection metric's mean over OOD sets and seeds, paired over samples.

    Parameters
    ----------
    first, second : sequence of Scores
        A method's runs, one a seed; all on the same samples in the same order. Numbers of seeds may differ.
    metric : str
        A key of `metrics.METRICS`.
    generator : numpy Generator
        The only source of chance.
    replicates, level, method
        See `contrast`.

    Raises
    ------
    ReproodError
        See `replicate_detection`.
    """
    found = replicate_detection([first, second], metric, generator, replicates)
    return contrast(found, [1.0, -1.0], generator, level, method)


def bootstrap_errors(
    errors: ArrayLike,
    generator: np.random.Generator,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    method: Method = "t",
) -> Interval:
    """Interval of the mean over seeds and samples of errors [seeds, n] (or [n]); see `contrast`."""
    return contrast(replicate_errors([errors], generator, replicates), [1.0], generator, level, method)


def bootstrap_error_difference(
    first: ArrayLike,
    second: ArrayLike,
    generator: np.random.Generator,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    method: Method = "t",
) -> Interval:
    """Interval of first minus second for errors [seeds, n], paired over samples; see `contrast`."""
    return contrast(replicate_errors([first, second], generator, replicates), [1.0, -1.0], generator, level, method)
