"""Groups of leaderboard rows that do not differ significantly: paired tests, Holm's correction, letter display."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray
from scipy import special

from reprood.audit.decide import LEVEL, holm
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.resample import Replicates

POWER = 0.8
LEAST_SEEDS = 3  # methods with fewer are not grouped: too few to estimate the variance between seeds

Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Grouping:
    """Groups of rows that do not differ significantly.

    Attributes
    ----------
    groups : tuple of tuples of int
        Rows of each group, ascending. Two rows share a group exactly when they do not differ significantly.
    letters : tuple of str
        One text per row: a letter for each of its groups; empty for a row that was not compared.
    pairs : int
        Number of comparisons that the correction covers.
    detectable : float
        Median over the pairs of the detectable difference (see `detectable`), in the metric's unit; NaN without pairs.
    """

    groups: tuple[tuple[int, ...], ...]
    letters: tuple[str, ...]
    pairs: int
    detectable: float = math.nan


def detectable(gap: Interval) -> float:
    """Return the true difference that a two-sided test at 5 % finds with a probability of about 80 %.

    With the standard errors of both sources of the interval, e_1 of the trainings and e_2 of the test samples, and
    quantiles t of either source's degrees of freedom,

        sqrt(sum over k of ((t_k(0.975) + t_k(0.8)) e_k)^2);

    with paired trainings alone e_1 = s / sqrt(R), s the standard deviation of the differences of R replicates. The
    noncentral t distribution is approximated by a moved t distribution.

    Examples
    --------
    >>> round(detectable(Interval(0.0, -1.0, 1.0, 0.95, 0.2, 5, 10, 10, freedom=4)), 3)
    0.743
    """
    trainings = math.sqrt(max(0.0, gap.standard_error**2 - gap.sample_error**2))
    sources = ((trainings, gap.freedom), (gap.sample_error, gap.sample_freedom))
    parts = [error * _quantiles(freedom) for error, freedom in sources if error > 0]
    return math.hypot(*parts) if parts else 0.0


def _quantiles(freedom: float) -> float:
    """Return the sum of the quantiles of t at 97.5 % and at the power."""
    if math.isinf(freedom):
        return float(special.ndtri((1 + LEVEL) / 2) + special.ndtri(POWER))
    return float(special.stdtrit(freedom, (1 + LEVEL) / 2) + special.stdtrit(freedom, POWER))


def gaps(found: Sequence[Replicates], seeds: Sequence[Sequence[int]] | None = None) -> list[Interval | None]:
    """Return the interval of the difference of every pair of rows, in the order of `itertools.combinations`.

    The parameters are those of `differing`. A pair with fewer than three common seeds has None.
    """
    intervals: list[Interval | None] = []
    for i, j in combinations(range(len(found)), 2):
        one, other = found[i], found[j]
        if seeds is not None:
            common = sorted(set(seeds[i]) & set(seeds[j]))
            if len(common) < LEAST_SEEDS:
                intervals.append(None)
                continue
            one, other = (found[row].chosen([seeds[row].index(seed) for seed in common]) for row in (i, j))
        both = replace(
            one, observed=[one.observed[0], other.observed[0]], resampled=[one.resampled[0], other.resampled[0]]
        )
        intervals.append(contrast(both, [1.0, -1.0], LEVEL, None if seeds is None else ["paired", "paired"]))
    return intervals


def differing(found: Sequence[Replicates], seeds: Sequence[Sequence[int]] | None = None) -> Booleans:
    """Test which rows differ significantly, with all pairs corrected by Holm's method at 5 %.

    Parameters
    ----------
    found : sequence of Replicates
        One per row and method, all on the same resampled test samples (from equal generators).
    seeds : sequence of sequences of int, optional
        Seeds of each row. If given, rows are paired by seed, on the seeds that both have.

    Returns
    -------
    bool array [n, n]
        Symmetric; False on the diagonal.
    """
    return _different(gaps(found, seeds), len(found))


def _different(intervals: Sequence[Interval | None], n: int) -> Booleans:
    p = [1.0 if gap is None else min(1.0, 2 * min(gap.above(0.0), gap.below(0.0))) for gap in intervals]
    different = np.zeros((n, n), dtype=bool)
    for (i, j), adjusted in zip(combinations(range(n), 2), holm(p), strict=True):
        different[i, j] = different[j, i] = adjusted <= 1 - LEVEL
    return different


def groups_of(different: Booleans) -> list[tuple[int, ...]]:
    """Group rows so that two rows share a group exactly when they do not differ.

    Each group is maximal, grown from the first pair that no group contains yet, in order of rows; redundant groups are
    dropped. Differing is not transitive, so a row may be in several groups.

    Parameters
    ----------
    different : bool array [n, n]
        Symmetric; False on the diagonal.
    """
    n = len(different)
    pending = [(i, j) for i in range(n) for j in range(i, n) if not different[i, j]]
    found: list[tuple[int, ...]] = []
    while pending:
        # single rows come last: a row is a group of its own only if it differs from all others
        pair = next((pair for pair in pending if pair[0] < pair[1]), pending[0])
        group = set(pair)
        for row in range(n):
            if not different[row, sorted(group)].any():
                group.add(row)
        found.append(tuple(sorted(group)))
        pending = [(i, j) for i, j in pending if not {i, j} <= group]
    for group_rows in reversed(found[:]):
        rest = [set(other) for other in found if other is not group_rows]
        inside = [{i, j} for i in group_rows for j in group_rows]
        if all(any(both <= other for other in rest) for both in inside):
            found.remove(group_rows)
    return sorted(found)


def names_of(count: int) -> list[str]:
    """Return letters for `count` groups; numbers if there are not enough letters."""
    return list(ascii_lowercase[:count]) if count <= len(ascii_lowercase) else [str(n + 1) for n in range(count)]


def letters_of(groups: Sequence[Sequence[int]], n: int) -> list[str]:
    """Return the letters of each of `n` rows in the order of groups; numbers are separated by spaces."""
    names = names_of(len(groups))
    between = "" if len(groups) <= len(ascii_lowercase) else " "
    return [between.join(name for name, group in zip(names, groups, strict=True) if row in group) for row in range(n)]


def grouped(found: Sequence[Replicates], seeds: Sequence[Sequence[int]] | None = None) -> Grouping:
    """Compare all rows that have at least three seeds; see `differing` and `groups_of`."""
    chosen = [row for row, one in enumerate(found) if len(one.observed[0]) >= LEAST_SEEDS]
    if len(chosen) < 2:
        return Grouping((), ("",) * len(found), 0)
    of_rows = None if seeds is None else [seeds[row] for row in chosen]
    intervals = gaps([found[row] for row in chosen], of_rows)
    groups = tuple(tuple(chosen[row] for row in group) for group in groups_of(_different(intervals, len(chosen))))
    smallest = [detectable(gap) for gap in intervals if gap is not None]
    median = float(np.median(smallest)) if smallest else math.nan
    return Grouping(groups, tuple(letters_of(groups, len(found))), len(intervals), median)
