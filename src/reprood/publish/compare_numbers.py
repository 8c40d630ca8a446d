"""Two tables of metrics side by side: which means over seeds changed, and whether by more than the seeds explain."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from reprood.audit.decide import LEVEL, holm

KEY = ["benchmark", "method", "split", "score", "metric"]
EQUAL = 1e-9  # relative


@dataclass(frozen=True)
class Numbers:
    """What became of the metrics.

    Attributes
    ----------
    same : int
        Metrics (of a method on a split) with equal values of every seed, to a relative 1e-9.
    table : DataFrame
        The others, smallest p first: benchmark, method, split, score, metric, first, second (means over seeds), seeds
        (the smaller number), p (Welch's t-test over the seeds, nan with one seed), p_holm, beyond_noise (True, False
        or None without p).
    only_first, only_second : int
        Metrics that one of them lacks.
    """

    same: int
    table: pd.DataFrame
    only_first: int
    only_second: int

    @property
    def beyond(self) -> pd.DataFrame:
        """Those that differ beyond noise."""
        return self.table[[value is True for value in self.table["beyond_noise"]]]


def compare_numbers(first: pd.DataFrame, second: pd.DataFrame) -> Numbers:
    """Compare two tables of metrics (columns benchmark, method, seed, split, score, metric, value, at least).

    Seeds are replicates of both; equal seed numbers share nothing when code or machine differ, so they are not paired.
    The p values are corrected by Holm for all metrics that differ and have one.
    """
    sides = [
        {key: rows["value"].to_numpy() for key, rows in table.sort_values("seed").groupby(KEY, sort=True)}
        for table in (first, second)
    ]
    both = [key for key in sides[0] if key in sides[1]]
    rows, same = [], 0
    for key in both:
        a, b = sides[0][key], sides[1][key]
        if len(a) == len(b) and np.allclose(a, b, rtol=EQUAL, atol=1e-12, equal_nan=True):
            same += 1
            continue
        seeds = min(len(a), len(b))
        p = _welch(a, b) if seeds > 1 else math.nan
        rows.append((*key, float(a.mean()), float(b.mean()), seeds, p))
    table = pd.DataFrame(rows, columns=[*KEY, "first", "second", "seeds", "p"])
    known = table["p"].notna()
    table["p_holm"] = np.nan
    table.loc[known, "p_holm"] = holm(list(table.loc[known, "p"]))
    beyond = [None if math.isnan(p) else p < 1 - LEVEL for p in table["p_holm"]]
    table["beyond_noise"] = pd.Series(beyond, dtype=object)
    table = table.sort_values(["p", *KEY], ignore_index=True, na_position="last")
    return Numbers(same, table, len(sides[0]) - len(both), len(sides[1]) - len(both))


def _welch(a: np.ndarray, b: np.ndarray) -> float:
    """P value of Welch's test; constant values that differ are told apart for certain."""
    if a.std() == 0 and b.std() == 0:
        return 0.0 if a.mean() != b.mean() else 1.0
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)
