"""Two published releases side by side: which verdicts and numbers changed, and whether by more than noise."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reprood.evaluate.table import read_metrics
from reprood.publish.compare_numbers import Numbers, compare_numbers
from reprood.publish.unpack import opened
from reprood.report.claims import KEY, read_verdicts


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
        """One line."""
        a, b = self.verdicts
        verdict = a if a == b else f"{a} -> {b}"
        first, second = self.effects
        effect = "" if math.isnan(first) or math.isnan(second) else f", effect {first:.4g} -> {second:.4g}"
        noise = {None: "", True: " (beyond noise)", False: " (within noise)"}[self.beyond_noise]
        return f"{self.claim}: {verdict}{effect}{noise}"


@dataclass(frozen=True)
class Comparison:
    """What differs between two releases: claims of both, claims of one alone, and metrics."""

    changed: tuple[Change, ...]
    same: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    numbers: Numbers


def _verdicts(folder: Path) -> pd.DataFrame:
    table = read_verdicts(folder / "results" / "verdicts.csv")
    table["benchmark"] = table["benchmark"].fillna("")
    table.index = pd.Index([f"{p}/{c}" + (f" on {b}" if b else "") for p, c, b in table[KEY].itertuples(index=False)])
    return table


def compare(first: Path, second: Path) -> Comparison:
    """Compare the verdicts and metrics of two releases (folders or zip archives) or checkouts with results.

    Raises
    ------
    ReproodError
        When one has no verdicts or no metrics.
    """
    with _results(first) as one, _results(second) as other:
        return _compare(one, other)


def _results(path: Path) -> AbstractContextManager[Path]:
    """A folder as it is (a checkout may hold links), an archive unpacked."""
    return nullcontext(path) if path.is_dir() else opened(path)


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
    numbers = compare_numbers(*(read_metrics(folder / "results" / "metrics.csv") for folder in (first, second)))
    return Comparison(tuple(changed), same, alone[0], alone[1], numbers)


def beyond_noise(first: tuple[float, float, float], second: tuple[float, float, float]) -> bool | None:
    """Whether two effects with intervals (low, effect, high) differ by more than both intervals allow.

    The halves of the intervals are added in quadrature, as for independent results.
    """
    values = [*first, *second]
    if any(math.isnan(value) for value in values):
        return None
    halves = [(one[2] - one[0]) / 2 for one in (first, second)]
    return abs(first[1] - second[1]) > math.hypot(*halves)
