"""`reprood.compare`: is one network better than another, or one training than another?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reprood.api.detectors import choose
from reprood.api.extremes import Sizes, chance, extreme, slack
from reprood.api.scoring import REPLICATES, Sets, check_resampling, compute_scores, sizes_of, with_mean
from reprood.api.sources import Reading, Source
from reprood.audit.decide import holm, p_inside
from reprood.core.errors import ReproodError
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.directions import lower_is_better
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.resample import Replicates, replicate_metrics

BETTER, WORSE, OPEN, SMALLER = "better", "worse", "open", "smaller than relevant"


def verdict(difference: float, metric: str, p: float, p_smaller: float, level: float) -> str:
    """Return what a difference, first minus second, says about the first.

    Parameters
    ----------
    difference : float
    metric : str
        A name of `reprood.metrics`.
    p, p_smaller : float
        Corrected two-sided p values of "no difference" and of "a relevant one".
    level : float
        Such as 0.95.
    """
    if p_smaller <= 1 - level:
        return SMALLER
    if p > 1 - level:
        return OPEN
    return BETTER if (difference < 0) == lower_is_better(metric) else WORSE


SAMPLES = "test samples, not trainings"


def _covered(first: int, second: int) -> str:
    """Return which sources of chance the interval covers."""
    if first == second == 1:
        return SAMPLES
    if 1 in (first, second):
        return f"test samples and the trainings of the {'second' if first == 1 else 'first'} side only"
    return "test samples and trainings"


def _networks(side: Any) -> list[Any]:
    """Return the networks of a side: one, or a sequence of replicates."""
    networks = list(side) if isinstance(side, Sequence) and not isinstance(side, str) else [side]
    if not networks:
        raise ReproodError("A side of the comparison has no network; give one or more.")
    return networks


def compare(
    first: Any,
    second: Any,
    *,
    id: Source = None,
    ood: Mapping[str, Source] | None = None,
    detectors: str | Iterable[Any] | Mapping[str, Any] = ("msp",),
    metric: str = "auroc",
    relevant: float | None = None,
    paired: bool = False,
    train: Source = None,
    validation: Source = None,
    replicates: int = REPLICATES,
    level: float = 0.95,
    seed: int = 0,
    **reading: Any,
) -> pd.DataFrame:
    """Compare two networks, or two ways of training, by a detection metric on the same test samples.

    Parameters
    ----------
    first, second : nn.Module, mapping, or sequence of either
        One network or several replicates (trainings that differ in the seed). A mapping holds stored outputs:
        {"id": ..., "ood": {...}} and optionally "train", "validation" and "head", as in `reprood.score`.
    id, ood, train, validation
        As in `reprood.score`; for networks.
    detectors
        As in `reprood.score`. Verdicts are corrected for the number of rows (Holm), so that the probability of any
        wrong one is at most 1 - level; a mean over sets is a row.
    metric : str
        A name of `reprood.metrics`.
    relevant : float, optional
        Smallest difference that matters, in percentage points.
    paired : bool
        Whether the k-th networks of both sides share a seed, which makes the interval narrower if they vary together.
    replicates, level, seed
        As in `reprood.score`; the resampled test samples are the same for both sides.
    **reading
        `layer`, `batch_size`, `device`, `workers`, `size`, `channels`, `mean`, `std`, `transform` of `reprood.score`.

    Returns
    -------
    DataFrame
        One row for each detector and OOD set, and for the mean over several sets: `detector`, `ood`, `metric`, `first`,
        `second` (means over networks), `difference`, `low`, `high` (interval of the row alone), `p_holm` (of "no
        difference", corrected for the number of rows), `verdict` on the first (better, worse, open, or smaller than
        relevant when the difference is shown to be within the relevant one), `covers` (with one network on each
        side the interval covers test samples only: it says nothing about another training), `n_first`, `n_second`.

    Raises
    ------
    ReproodError
        As `reprood.score`, and when the sides have other test samples.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def outputs(gap):
    ...     return {"id": gap * np.eye(2)[rng.integers(0, 2, 200)] + rng.normal(size=(200, 2)),
    ...             "ood": {"far": rng.normal(size=(200, 2))}}
    >>> compare(outputs(4), outputs(1), relevant=1)[["ood", "verdict", "covers"]]
       ood verdict                       covers
    0  far  better  test samples, not trainings
    """
    if metric not in METRICS:
        raise ReproodError(f"There is no metric '{metric}'; known: {', '.join(METRICS)}.")
    if relevant is not None and relevant <= 0:
        raise ReproodError(f"relevant is {relevant}; expected percentage points above 0, or None.")
    check_resampling(replicates, level)
    how, chosen = Reading(**reading), choose(detectors)
    shared = {"id": id, "ood": ood, "train": train, "validation": validation}

    def scores_of(network: Any) -> Any:
        stored = isinstance(network, Mapping)
        try:
            sets = Sets(**{**shared, **network} if stored else shared)
        except TypeError as error:
            raise ReproodError(f"A side of the comparison holds {', '.join(network)}; expected id and ood.") from error
        return compute_scores(None if stored else network, sets, chosen, how).scores

    sides = [[scores_of(network) for network in _networks(side)] for side in (first, second)]
    counts = [len(side) for side in sides]
    rows: list[dict[str, Any]] = []
    tests: list[tuple[float, float, bool]] = []
    for name in chosen:
        arms = [[scores[name] for scores in side] for side in sides]
        found = with_mean(replicate_metrics(arms, [metric], np.random.default_rng(seed), replicates))
        for group, of in found.items():
            interval, p, inside, bounded = _difference(
                of[metric], sizes_of(found, group), metric, relevant, level, paired=paired
            )
            tests.append((p, inside, bounded))
            row: dict[str, Any] = {"detector": name, "ood": group, "metric": metric}
            row |= {side: float(values.mean()) for side, values in zip(("first", "second"), of[metric].observed)}
            row |= {"difference": interval.estimate, "low": interval.low, "high": interval.high}
            rows.append(row)
    corrected = holm([p for p, *_ in tests], beside=0 if relevant is None else len(tests))
    for row, p, (_, inside, bounded) in zip(rows, corrected, tests, strict=True):
        smaller = min(1.0, len(tests) * inside)
        row |= {"p_holm": p, "verdict": verdict(row["difference"], metric, p, smaller, level)}
        row |= {"covers": SAMPLES if bounded else _covered(*counts), "n_first": counts[0], "n_second": counts[1]}
    return pd.DataFrame(rows)


def _difference(
    replicated: Replicates, sets: Sequence[Sizes], metric: str, relevant: float | None, level: float, *, paired: bool
) -> tuple[Interval, float, float, bool]:
    """Return the interval of first minus second, two-sided p values of "no" and of "a relevant" difference, and more.

    The last value says whether the interval is such a bound, which covers test samples and no trainings. Where only one
    side is at 0 or 1, its variance is taken for zero.

    Where both sides are at 0 or 1 and do not vary, each is bounded as in `reprood.api.extremes`, at half the error
    level: the interval then covers the difference at the level.
    """
    trainings = ("both", "both") if paired else None
    interval = contrast(replicated, (1.0, -1.0), level, trainings).within(-1.0, 1.0)
    bound = math.inf if relevant is None else relevant / 100
    p = min(1.0, 2 * min(interval.above(0.0), interval.below(0.0)))
    smaller = 1.0 if relevant is None else min(1.0, 2 * p_inside(interval, bound))
    ends = [extreme(values.tolist()) for values in replicated.observed]
    if interval.standard_error > 0 or None in ends:
        return interval, p, smaller, False
    free = slack(metric, sets, (1 - level) / 2)
    if ends[0] == ends[1]:
        smaller = 1.0 if relevant is None else min(1.0, 2 * chance(metric, sets, bound))
        return replace(interval, low=-free, high=free), 1.0, smaller, True
    p = min(1.0, 2 * chance(metric, sets, 0.5))
    low, high = (1 - 2 * free, 1.0) if interval.estimate > 0 else (-1.0, 2 * free - 1)
    return replace(interval, low=low, high=high), p, 1.0, True
