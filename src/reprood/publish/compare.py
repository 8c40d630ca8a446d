"""Compare two releases: which verdicts and metrics changed, and whether by more than noise."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from reprood.audit.decide import LEVEL, holm
from reprood.publish.expand import collected_metrics
from reprood.publish.unpack import opened
from reprood.report.claims import KEY, read_verdicts

METRIC = ["benchmark", "method", "split", "score", "metric"]
EQUAL = 1e-9  # relative


@dataclass(frozen=True)
class Change:
    """A claim whose verdict or effect differs.

    Attributes
    ----------
    claim : str
        paper/claim on benchmark.
    verdicts : (str, str)
    effects : (float, float)
    beyond_noise : bool or None
        The effects differ by more than the 95 % intervals of both allow, taken as independent; None without intervals.
    """

    claim: str
    verdicts: tuple[str, str]
    effects: tuple[float, float]
    beyond_noise: bool | None

    def __str__(self) -> str:
        """Return one line."""
        a, b = self.verdicts
        verdict = a if a == b else f"{a} -> {b}"
        first, second = self.effects
        effect = "" if math.isnan(first) or math.isnan(second) else f", effect {first:.4g} -> {second:.4g}"
        noise = {None: "", True: " (beyond noise)", False: " (within noise)"}[self.beyond_noise]
        return f"{self.claim}: {verdict}{effect}{noise}"


@dataclass(frozen=True)
class MetricChanges:
    """How the metrics of two releases differ.

    Attributes
    ----------
    same : int
        Metrics (of a method on a split) with equal values of every seed, to a relative 1e-9.
    table : DataFrame
        The others, smallest p first: benchmark, method, split, score, metric, first, second (means over seeds), seeds
        (the smaller number), p (Welch's t-test over the seeds, nan with one seed), p_holm, beyond_noise (True, False
        or None without p).
    only_first, only_second : int
        Metrics that are missing in the other one.
    """

    same: int
    table: pd.DataFrame
    only_first: int
    only_second: int

    @property
    def beyond(self) -> pd.DataFrame:
        """Return the metrics that differ beyond noise."""
        return self.table[[value is True for value in self.table["beyond_noise"]]]


@dataclass(frozen=True)
class Comparison:
    """What differs between two releases: claims in both, claims in one only, and metrics."""

    changed: tuple[Change, ...]
    same: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    metrics: MetricChanges


def _verdicts(folder: Path) -> pd.DataFrame:
    table = read_verdicts(folder / "verdicts.csv")
    table["benchmark"] = table["benchmark"].fillna("")
    table.index = pd.Index([f"{p}/{c}" + (f" on {b}" if b else "") for p, c, b in table[KEY].itertuples(index=False)])
    return table


def compare(first: Path, second: Path) -> Comparison:
    """Compare the verdicts and metrics of two releases (folders or zip archives) or folders of results.

    Raises
    ------
    ReproodError
        When one has no verdicts or no metrics.
    """
    with _results(first) as one, _results(second) as other:
        return _compare(one, other)


def _results(path: Path) -> AbstractContextManager[Path]:
    """Return the folder with verdicts and metrics: of a release (an archive is unpacked), or a suite's own."""
    if path.is_dir():
        return nullcontext(path if (path / "verdicts.csv").is_file() else path / "results")
    return _unpacked(path)


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    with opened(archive) as folder:
        yield folder / "results"


def _compare(first: Path, second: Path) -> Comparison:
    a, b = _verdicts(first), _verdicts(second)
    changed, same = [], 0
    for claim in a.index.intersection(b.index):
        x, y = a.loc[claim], b.loc[claim]
        noise = beyond_noise((x["low"], x["effect"], x["high"]), (y["low"], y["effect"], y["high"]))
        equal = x["verdict"] == y["verdict"] and (
            x["effect"] == y["effect"] or (pd.isna(x["effect"]) and pd.isna(y["effect"]))
        )
        if equal:
            same += 1
            continue
        changed.append(Change(str(claim), (x["verdict"], y["verdict"]), (x["effect"], y["effect"]), noise))
    changed.sort(key=lambda change: (change.verdicts[0] == change.verdicts[1], not change.beyond_noise))
    alone = [tuple(str(claim) for claim in one.index.difference(other.index)) for one, other in ((a, b), (b, a))]
    metrics = compare_metrics(*(collected_metrics(folder) for folder in (first, second)))
    return Comparison(tuple(changed), same, alone[0], alone[1], metrics)


def beyond_noise(first: tuple[float, float, float], second: tuple[float, float, float]) -> bool | None:
    """Return whether two effects with intervals (low, effect, high) differ by more than both intervals allow.

    The halves of the intervals are added in quadrature, as for independent results.
    """
    values = [*first, *second]
    if any(math.isnan(value) for value in values):
        return None
    halves = [(one[2] - one[0]) / 2 for one in (first, second)]
    return abs(first[1] - second[1]) > math.hypot(*halves)


def compare_metrics(first: pd.DataFrame, second: pd.DataFrame) -> MetricChanges:
    """Compare two tables of metrics (columns benchmark, method, seed, split, score, metric, value, at least).

    Seeds are replicates and not paired: equal seeds share nothing when code or machine differ. The p values are
    corrected by Holm's method over all metrics that differ and have one.
    """
    sides = [
        {key: rows["value"].to_numpy() for key, rows in table.sort_values("seed").groupby(METRIC, sort=True)}
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
    table = pd.DataFrame(rows, columns=[*METRIC, "first", "second", "seeds", "p"])
    known = table["p"].notna()
    table["p_holm"] = np.nan
    table.loc[known, "p_holm"] = holm(list(table.loc[known, "p"]))
    beyond = [None if math.isnan(p) else p < 1 - LEVEL for p in table["p_holm"]]
    table["beyond_noise"] = pd.Series(beyond, dtype=object)
    table = table.sort_values(["p", *METRIC], ignore_index=True, na_position="last")
    return MetricChanges(same, table, len(sides[0]) - len(both), len(sides[1]) - len(both))


def _welch(a: np.ndarray, b: np.ndarray) -> float:
    """Return the p value of Welch's test; 0 for constant values that differ."""
    if a.std() == 0 and b.std() == 0:
        return 0.0 if a.mean() != b.mean() else 1.0
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)
