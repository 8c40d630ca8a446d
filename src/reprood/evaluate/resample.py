"""Resampled metrics: scores are sorted once, and every replicate is the same ranking with other counts. No torch.

Test samples are drawn with replacement, separately for ID and each OOD set, with the sizes kept. All methods and all
seeds of a replicate see the same draw, because they were tested on the same images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import METRICS, Floats, Integers, Ranking, Workspace, metric_at, rank

_CELLS = 2**15  # resampled samples handled at once: they stay in the cache


@dataclass(frozen=True)
class Scores:
    """One seed's scores of one method: ID test samples [n] and each OOD set [n_k], in the order of the test files."""

    in_distribution: Floats
    outliers: Mapping[str, Floats]


def ensemble(runs: Sequence[Scores]) -> list[Scores]:
    """Return the mean over the seeds of each sample's score, once for each seed.

    Every seed then has the value of the ensemble, so that it is compared with each of its members.

    Raises
    ------
    ReproodError
        If the seeds were not tested on the same samples.

    Examples
    --------
    >>> first = Scores(np.array([1.0, 2.0]), {"far": np.array([0.0])})
    >>> second = Scores(np.array([3.0, 2.0]), {"far": np.array([1.0])})
    >>> ensemble([first, second])[1]
    Scores(in_distribution=array([2., 2.]), outliers={'far': array([0.5])})
    """
    _check([runs], "auroc")
    inside = np.mean([run.in_distribution for run in runs], axis=0)
    outside = {name: np.mean([run.outliers[name] for run in runs], axis=0) for name in runs[0].outliers}
    return [Scores(inside, outside)] * len(runs)


def draw_counts(generator: np.random.Generator, size: int, replicates: int) -> Integers:
    """Count how often each of `size` samples is drawn when `size` are drawn with replacement; [replicates, size].

    Examples
    --------
    >>> draw_counts(np.random.default_rng(0), 4, 2).sum(axis=1)
    array([4, 4])
    """
    drawn = generator.integers(0, size, size=(replicates, size))
    drawn += np.arange(replicates)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=replicates * size).reshape(replicates, size)


def _streams(
    generator: np.random.Generator, sizes: Sequence[int], replicates: int
) -> Iterator[tuple[slice, list[Integers]]]:
    """Yield counts of each group of samples, replicate by replicate; the draws do not depend on the block size."""
    streams = generator.spawn(len(sizes))
    block = max(1, _CELLS // max(sizes))
    for start in range(0, replicates, block):
        rows = slice(start, min(start + block, replicates))
        yield rows, [draw_counts(stream, size, rows.stop - start) for stream, size in zip(streams, sizes)]


def _check(arms: Sequence[Sequence[Scores]], metric: str) -> tuple[int, dict[str, int]]:
    if metric not in METRICS:
        raise ReproodError(f"There is no detection metric '{metric}'; known: {', '.join(METRICS)}.")
    if not arms or not all(arms):
        raise ReproodError("The bootstrap got a method without runs; it needs at least one seed of each.")
    first = arms[0][0]
    sizes = {name: len(values) for name, values in first.outliers.items()}
    if not sizes:
        raise ReproodError("The bootstrap got no OOD set; it needs at least one.")
    for run in (run for arm in arms for run in arm):
        others = {name: len(values) for name, values in run.outliers.items()}
        if len(run.in_distribution) != len(first.in_distribution) or others != sizes:
            raise ReproodError(
                f"Paired intervals need the same test samples in every run: one has {len(first.in_distribution)} ID "
                f"and {sizes} OOD samples, another {len(run.in_distribution)} and {others}; compute "
                "all outputs on the same images."
            )
    return len(first.in_distribution), sizes


@dataclass(frozen=True)
class Replicates:
    """A metric of every seed of every method, on the observed and on resampled data.

    Attributes
    ----------
    observed : list of float array [seeds]
        One array per method.
    resampled : list of float array [replicates, seeds]
        The same on resampled test samples; a row is one resampling, the same for all methods and seeds.
    n_id, n_ood : int
    units : tuple of int
        The unit (class, split of classes) of each seed, where several may share one; empty: each its own.
    pooled : bool
        Seeds have test sets of their own, made from the same images in an unknown part, and each is resampled alone.
    """

    observed: list[Floats]
    resampled: list[Floats]
    n_id: int
    n_ood: int
    units: tuple[int, ...] = ()
    pooled: bool = False

    def chosen(self, columns: Sequence[int]) -> "Replicates":
        """Return the seeds at some positions, which all methods have; sizes are those of the units that remain."""
        picked = list(columns)
        share = len({self.units[i] for i in picked}) / len(set(self.units)) if self.units else 1.0
        return replace(
            self,
            n_id=round(share * self.n_id),
            n_ood=round(share * self.n_ood),
            observed=[values[picked] for values in self.observed],
            resampled=[table[:, picked] for table in self.resampled],
            units=tuple(self.units[i] for i in picked) if self.units else (),
        )

    def by_unit(self) -> "Replicates":
        """Return the means over the seeds of each unit, in order of first appearance."""
        if len(set(self.units)) == len(self.units):
            return self
        places = [[i for i, one in enumerate(self.units) if one == unit] for unit in dict.fromkeys(self.units)]
        return replace(
            self,
            observed=[np.array([values[some].mean() for some in places]) for values in self.observed],
            resampled=[np.stack([table[:, some].mean(axis=1) for some in places], axis=1) for table in self.resampled],
            units=(),
        )


def replicate_detection(
    arms: Sequence[Sequence[Scores]],
    metric: str,
    generator: np.random.Generator,
    replicates: int = 1000,
    sets: Sequence[Sequence[str]] | None = None,
    base_rates: Sequence[Fraction | None] | None = None,
) -> Replicates:
    """Resample the test samples and compute the mean over OOD sets of a detection metric for every run.

    Parameters
    ----------
    arms : sequence of sequences of Scores
        Methods, and the seeds of each. All runs hold the same samples in the same order.
    metric : str
        A key of `metrics.METRICS`.
    generator : numpy Generator
        The only source of randomness.
    replicates : int
        Number of resamplings.
    sets : sequence of sequences of str, optional
        For each method the OOD sets that enter its mean; default: all of them. All runs hold all sets.
    base_rates : sequence of Fraction or None, optional
        For each method the base rate of its AUPR; default: that of the samples.

    Raises
    ------
    ReproodError
        When runs do not match, a score is not finite, or the metric is unknown.
    """
    n_id, sizes = _check(arms, metric)
    order = list(sizes)
    wanted = [order] * len(arms) if sets is None else [list(chosen) for chosen in sets]
    rankings: list[list[list[tuple[int, Ranking]]]] = [
        [[(order.index(name), rank(run.in_distribution, run.outliers[name])) for name in names] for run in arm]
        for arm, names in zip(arms, wanted, strict=True)
    ]
    rates = [None] * len(arms) if base_rates is None else list(base_rates)
    observed = [
        np.array([[float(metric_at(metric, r.counts(), rate)) for _, r in run] for run in arm]).mean(axis=1)
        for arm, rate in zip(rankings, rates, strict=True)
    ]
    resampled = [np.zeros((replicates, len(arm))) for arm in arms]
    work: list[Workspace] = [{} for _ in sizes]
    for rows, (of_id, *of_ood) in _streams(generator, [n_id, *sizes.values()], replicates):
        for arm, rate, values in zip(rankings, rates, resampled):
            for seed, run in enumerate(arm):
                for place, ranking in run:
                    counts = ranking.counts(of_id, of_ood[place], work[place])
                    values[rows, seed] += metric_at(metric, counts, rate)
    means = [values / len(names) for values, names in zip(resampled, wanted, strict=True)]
    return Replicates(observed, means, n_id, sum(sizes.values()))


def replicate_metrics(
    arms: Sequence[Sequence[Scores]], metrics: Sequence[str], generator: np.random.Generator, replicates: int = 200
) -> dict[str, dict[str, Replicates]]:
    """Resample the test samples and compute several detection metrics of every run on each OOD set.

    Each resampled set is counted once for all metrics. The draws are those of `replicate_detection`.

    Parameters
    ----------
    arms, generator, replicates
        As in `replicate_detection`.
    metrics : sequence of str
        Keys of `metrics.METRICS`.

    Returns
    -------
    dict of dict
        OOD set -> metric -> replicates.

    Raises
    ------
    ReproodError
        When runs do not match, a score is not finite, or a metric is unknown.
    """
    for metric in metrics:
        n_id, sizes = _check(arms, metric)
    found: dict[str, dict[str, Replicates]] = {}
    rankings = {
        name: [[rank(run.in_distribution, run.outliers[name]) for run in arm] for arm in arms] for name in sizes
    }
    for name, ranked in rankings.items():
        counted = [[ranking.counts() for ranking in arm] for arm in ranked]
        found[name] = {
            metric: Replicates(
                [np.array([float(METRICS[metric](counts)) for counts in arm]) for arm in counted],
                [np.empty((replicates, len(arm))) for arm in arms],
                n_id,
                sizes[name],
            )
            for metric in metrics
        }
    work: dict[str, Workspace] = {name: {} for name in sizes}
    for rows, (of_id, *of_ood) in _streams(generator, [n_id, *sizes.values()], replicates):
        for (name, ranked), outlier_counts in zip(rankings.items(), of_ood, strict=True):
            for place, arm in enumerate(ranked):
                for seed, ranking in enumerate(arm):
                    counts = ranking.counts(of_id, outlier_counts, work[name])
                    for metric in metrics:
                        found[name][metric].resampled[place][rows, seed] = METRICS[metric](counts)
    return found


def replicate_errors(arms: Sequence[ArrayLike], generator: np.random.Generator, replicates: int = 1000) -> Replicates:
    """Resample the test samples and compute the mean error (or any mean of one number per sample) of every run.

    Parameters
    ----------
    arms : sequence of arrays [seeds, n]
        The error of each method at each test sample (0/1, or any number).
    generator, replicates
        As in `replicate_detection`.

    Raises
    ------
    ReproodError
        When the methods were not tested on the same number of samples.
    """
    tables = [np.atleast_2d(np.asarray(arm, dtype=np.float64)) for arm in arms]
    if not tables or any(table.ndim != 2 or 0 in table.shape for table in tables):
        raise ReproodError("The bootstrap needs errors of at least one seed and one sample for each method.")
    n = tables[0].shape[1]
    if any(table.shape[1] != n for table in tables):
        raise ReproodError(
            f"Paired intervals need the same test samples in every run, not {[table.shape[1] for table in tables]}."
        )
    resampled = [np.empty((replicates, len(table))) for table in tables]
    for rows, (counts,) in _streams(generator, [n], replicates):
        for table, values in zip(tables, resampled):
            values[rows] = counts @ table.T / n
    return Replicates([table.mean(axis=1) for table in tables], resampled, n, 0)
