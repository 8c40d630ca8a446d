"""Bootstrap intervals of metrics and of differences between methods, over test samples and training seeds.

Differences are paired over samples: all runs of a replicate see the same resampled images. Seeds are resampled for each
method separately, because the trainings of two methods with equal seed numbers share nothing; two scores of the same
trained models share their seeds.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import Floats
from reprood.evaluate.resample import Replicates

Method = Literal["t", "percentile"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty.

    Attributes
    ----------
    estimate : float
        The value on the observed data.
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
        The same, at most those of the trainings: for p values far below 5 %, as corrections for many comparisons need.
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

    def within(self, lowest: float, highest: float) -> "Interval":
        """Return the interval cut to the range of possible values; the p values do not change.

        The true value lies in that range, so cutting never makes an interval miss it: the coverage is the same.
        """
        return replace(self, low=max(self.low, lowest), high=min(self.high, highest))

    def above(self, bound: float, strict: bool = False) -> float:
        """Return the one-sided p value of "the value is at most `bound`" against "it is above"; in [0, 1]."""
        gap = self.estimate - bound
        if self.standard_error == 0:
            return 0.0 if gap > 0 else 1.0
        return float(stats.t.sf(gap / self.standard_error, self.strict_freedom if strict else self.freedom))

    def below(self, bound: float, strict: bool = False) -> float:
        """Return the one-sided p value of "the value is at least `bound`" against "it is below"; in [0, 1]."""
        gap = self.estimate - bound
        if self.standard_error == 0:
            return 0.0 if gap < 0 else 1.0
        return float(stats.t.cdf(gap / self.standard_error, self.strict_freedom if strict else self.freedom))


def contrast(
    replicated: Replicates,
    weights: Sequence[float],
    generator: np.random.Generator,
    level: float = 0.95,
    method: Method = "t",
    trainings: Sequence[Hashable] | None = None,
) -> Interval:
    """Return the interval of a weighted sum over methods of the mean over seeds, for instance (1, -1) for a difference.

    Parameters
    ----------
    replicated : Replicates
        From `replicate_detection` or `replicate_errors`.
    weights : sequence of float
        One per method.
    generator : numpy Generator
        Draws seeds (method "percentile").
    level : float
        Nominal coverage.
    method : {"t", "percentile"}
        "t": estimate +- t * standard error. The variance is that between seeds (s^2 / S for each method) plus that of
        the test samples (bootstrap, seeds fixed); degrees of freedom by Satterthwaite. Holds its level with three
        seeds. The interval is symmetric and may reach beyond the metric's range (see `Interval.within`).
        "percentile": quantiles of replicates that also resample seeds, S - 1 out of S with replacement, which makes the
        variance between seeds unbiased (Rao & Wu 1988). Too narrow with few seeds: three seeds give six means.
        With one seed nothing is known about training, and both cover the test samples only.
    trainings : sequence, optional
        One name per entry of `replicated`: entries with equal names are scores of the same trained models (two
        detectors on one network), so that their seeds are paired. Default: all differ.

    Raises
    ------
    ReproodError
        When the numbers of weights, names and methods differ, when scores of the same trainings have different
        numbers of seeds, or when there are fewer than two replicates.
    """
    replicates = len(replicated.resampled[0])
    observed, resampled = _by_training(replicated, weights, trainings)
    if replicates < 2:
        raise ReproodError("An interval needs at least two replicates.")
    estimate = float(sum(values.mean() for values in observed))
    seeds = [len(values) for values in observed]
    of_samples = float(np.sum([values.mean(axis=1) for values in resampled], axis=0).var(ddof=1))
    of_seeds = [float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0 for values in observed]
    error = float(np.sqrt(of_samples + sum(of_seeds)))
    freedom = _freedom(of_samples, replicated.n_id, of_seeds, seeds)
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
    return Interval(
        estimate, low, high, level, error, replicates, min(seeds), replicated.n_id, replicated.n_ood, freedom, strict
    )


def _by_training(
    replicated: Replicates, weights: Sequence[float], trainings: Sequence[Hashable] | None
) -> tuple[list[Floats], list[Floats]]:
    """Return weighted values, those of the same trained models added up seed by seed."""
    names = list(range(len(weights))) if trainings is None else list(trainings)
    if not len(weights) == len(names) == len(replicated.observed):
        raise ReproodError(
            f"A contrast of {len(replicated.observed)} methods needs as many weights and names of trainings, not "
            f"{len(weights)} and {len(names)}."
        )
    observed: dict[Hashable, Floats] = {}
    resampled: dict[Hashable, Floats] = {}
    for name, weight, values, table in zip(names, weights, replicated.observed, replicated.resampled):
        if name in observed and len(observed[name]) != len(values):
            raise ReproodError(
                f"Scores of the same trainings ({name}) have {len(observed[name])} and {len(values)} seeds."
            )
        observed[name] = observed.get(name, 0.0) + weight * values
        resampled[name] = resampled.get(name, 0.0) + weight * table
    return list(observed.values()), list(resampled.values())


def _freedom(of_samples: float, n: int, of_seeds: Sequence[float], seeds: Sequence[int]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances; infinite when all are 0."""
    parts = [(of_samples, max(n - 1, 1)), *((v, s - 1) for v, s in zip(of_seeds, seeds) if s > 1)]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return math.inf
    return total**2 / sum(variance**2 / degrees for variance, degrees in parts)
