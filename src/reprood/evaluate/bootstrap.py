"""Intervals of metrics and of differences between methods, over test samples and training seeds.

Differences are paired over samples: all runs of a replicate see the same resampled images. Methods that share a
replicate's class split, initialisation and order of data are paired over seeds, too; others are not.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, special

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import Floats
from reprood.evaluate.resample import Replicates


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty, from two sources: trainings and the test samples that they share.

    Half the width is sqrt(t_1^2 * variance of trainings + t_2^2 * variance of samples), with the quantiles of either
    source's degrees of freedom. Such intervals cover at least their level, whatever the shares of the sources
    (Banerjee, Approximate confidence interval for linear functions of means of k populations, Sankhya 22, 1960); with
    one source they are t intervals.

    Attributes
    ----------
    estimate : float
        The value on the observed data.
    low, high : float
        Ends of the interval.
    level : float
        Nominal coverage.
    standard_error : float
    n_seeds : int
        Smallest number of seeds (or units) among the methods; with 1 the interval covers the test samples only, not
        training.
    n_id, n_ood : int
        Test samples: in-distribution, and over all OOD sets.
    freedom : float
        Degrees of freedom of the variance of trainings.
    sample_error : float
        Standard error due to the shared test samples alone: sample_error^2 is part of standard_error^2.
    sample_freedom : float
        Degrees of freedom of that part.
    """

    estimate: float
    low: float
    high: float
    level: float
    standard_error: float
    n_seeds: int
    n_id: int
    n_ood: int
    freedom: float = math.inf
    sample_error: float = 0.0
    sample_freedom: float = math.inf

    def within(self, lowest: float, highest: float) -> "Interval":
        """Return the interval cut to the range of possible values; the p values do not change.

        The true value lies in that range, so cutting never makes an interval miss it: the coverage is the same.
        """
        return replace(self, low=max(self.low, lowest), high=min(self.high, highest))

    def above(self, bound: float) -> float:
        """Return the one-sided p value of "the value is at most `bound`" against "it is above"; in [0, 1]."""
        gap = self.estimate - bound
        if self.standard_error == 0:
            return 0.0 if gap > 0 else 1.0
        return self._tail(gap) if gap > 0 else 1 - self._tail(-gap)

    def below(self, bound: float) -> float:
        """Return the one-sided p value of "the value is at least `bound`" against "it is below"; in [0, 1]."""
        gap = self.estimate - bound
        if self.standard_error == 0:
            return 0.0 if gap < 0 else 1.0
        return self._tail(-gap) if gap < 0 else 1 - self._tail(gap)

    def _tail(self, gap: float) -> float:
        """Return the one-sided p value of a distance >= 0: the level of the interval that ends there."""
        trainings = math.sqrt(max(0.0, self.standard_error**2 - self.sample_error**2))
        if self.sample_error == 0:
            return float(special.stdtr(self.freedom, -gap / trainings))
        if trainings == 0:
            return float(special.stdtr(self.sample_freedom, -gap / self.sample_error))

        def excess(logarithm: float) -> float:
            tail = math.exp(logarithm)
            return float(half_width(trainings, self.freedom, self.sample_error, self.sample_freedom, tail)) - gap

        if excess(SMALLEST) <= 0:
            return math.exp(SMALLEST)
        return 0.5 if gap == 0 else math.exp(optimize.brentq(excess, SMALLEST, math.log(0.5), xtol=1e-10))


SMALLEST = math.log(1e-30)  # of a p value that is looked for; smaller ones are given as this


def half_width(trainings: Any, freedom: float, samples: float, sample_freedom: float, tail: float) -> Any:
    """Return half the width of an interval (see `Interval`) with an error level of `tail` on each side.

    The standard errors of the two sources may be arrays.
    """
    return np.hypot(trainings * special.stdtrit(freedom, tail), samples * special.stdtrit(sample_freedom, tail))


def contrast(
    replicated: Replicates,
    weights: Sequence[float],
    level: float = 0.95,
    trainings: Sequence[Hashable] | None = None,
) -> Interval:
    """Return the interval of a weighted sum over methods of the mean over seeds, for instance (1, -1) for a difference.

    The variance is that between seeds (s^2 / S for each group of paired methods) plus the part of the test samples that
    all seeds have in common: with x[b, s] the values on resampled samples,

        max(0, Var_b(mean_s x) - sum over groups of mean_s Var_b(x - mean_s x) / (S - 1)),

    because what the samples do to single seeds is in the variance between seeds already. Where seeds have test sets of
    their own, made from the same images in part (`Replicates.pooled`), the common part is not known, and is taken as
    its upper bound: all of mean_s Var_b(x). With one seed nothing is known about training, and the interval covers the
    test samples only. Seeds that share a unit are averaged first, and the units take their place.

    The two parts keep their own degrees of freedom: S - 1 (Satterthwaite's for several groups), and images - 1. One
    number for both, Satterthwaite's, would grow to that of the images whenever a few trainings agree by luck, and p
    values far below 5 % would be too small.

    Parameters
    ----------
    replicated : Replicates
        From `replicate_detection` or `replicate_errors`.
    weights : sequence of float
        One per method.
    level : float
        Nominal coverage. The interval is symmetric and may reach beyond the metric's range (see `Interval.within`).
    trainings : sequence, optional
        One name per entry of `replicated`: entries with equal names are paired over seeds. Default: all differ, so that
        seeds are independent (Welch's test).

    Raises
    ------
    ReproodError
        When the numbers of weights, names and methods differ, when paired entries have different numbers of seeds, or
        when there are fewer than two replicates.
    """
    replicates = len(replicated.resampled[0])
    if replicates < 2:
        raise ReproodError("An interval needs at least two replicates.")
    observed, resampled = _by_training(replicated.by_unit(), weights, trainings)
    estimate = float(sum(values.mean() for values in observed))
    seeds = [len(values) for values in observed]
    several = [(values, table) for values, table in zip(observed, resampled, strict=True) if len(values) > 1]
    of_seeds = [(float(values.var(ddof=1)) / len(values), len(values) - 1) for values, _ in several]
    if replicated.pooled:
        common = sum(float(table.var(axis=0, ddof=1).mean()) for table in resampled)
    else:
        joint = float(np.sum([table.mean(axis=1) for table in resampled], axis=0).var(ddof=1))
        common = max(0.0, joint - sum(_own_part(table) for _, table in several))
    trainings_error = math.sqrt(sum(variance for variance, _ in of_seeds))
    freedom, sample_freedom = _freedom(of_seeds), float(max(min(replicated.n_id, replicates) - 1, 1))
    half = float(half_width(trainings_error, freedom, math.sqrt(common), sample_freedom, (1 - level) / 2))
    return Interval(
        estimate, estimate - half, estimate + half, level, math.hypot(trainings_error, math.sqrt(common)), min(seeds),
        replicated.n_id, replicated.n_ood, freedom, math.sqrt(common), sample_freedom,
    )  # fmt: skip


def _own_part(resampled: Floats) -> float:
    """Return the variance of a mean over seeds that comes from what the samples do to single seeds."""
    seeds = int(resampled.shape[1])
    residuals = resampled - resampled.mean(axis=1, keepdims=True)
    return float(residuals.var(axis=0, ddof=1).mean() / (seeds - 1))


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


def _freedom(parts: Sequence[tuple[float, float]]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of (variance, degrees); infinite when all are 0."""
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return math.inf
    return float(total**2 / sum(variance**2 / degrees for variance, degrees in parts))
