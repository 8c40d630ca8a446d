"""`reprood.compare`: is one network better than another, or one training than another?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reprood.api.detectors import choose
from reprood.api.scoring import REPLICATES, Sets, check_resampling, compute_scores, with_mean
from reprood.api.sources import Reading, Source
from reprood.core.errors import ReproodError
from reprood.evaluate.bootstrap import Interval, contrast
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.resample import Replicates, replicate_metrics

BETTER, WORSE, OPEN, SMALLER = "better", "worse", "open", "smaller than relevant"
HIGHER = ("auroc", "aupr_in", "aupr_out")  # metrics of which more is better


def verdict(interval: Interval, metric: str, relevant: float | None) -> str:
    """Return what an interval of first minus second says about the first.

    Parameters
    ----------
    interval : Interval
        In [-1, 1].
    metric : str
        A name of `reprood.metrics`.
    relevant : float, optional
        Smallest difference that matters, in percentage points.
    """
    if relevant is not None and -relevant / 100 < interval.low and interval.high < relevant / 100:
        return SMALLER
    if interval.low <= 0 <= interval.high:
        return OPEN
    return BETTER if (interval.low > 0) == (metric in HIGHER) else WORSE


def _covered(first: int, second: int) -> str:
    """Return which sources of chance the interval covers."""
    if first == second == 1:
        return "test samples, not trainings"
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
        As in `reprood.score`. Several detectors are several questions: verdicts are not corrected for their number.
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
        `second` (means over networks), `difference`, `low`, `high`, `verdict` on the first (better, worse, open, or
        smaller than relevant when the interval lies within the relevant difference), `covers` (with one network on each
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
    rows = []
    for name in chosen:
        arms = [[scores[name] for scores in side] for side in sides]
        found = with_mean(replicate_metrics(arms, [metric], np.random.default_rng(seed), replicates))
        for group, of in found.items():
            interval = _difference(of[metric], level, paired=paired)
            row: dict[str, Any] = {"detector": name, "ood": group, "metric": metric}
            row |= {side: float(values.mean()) for side, values in zip(("first", "second"), of[metric].observed)}
            row |= {"difference": interval.estimate, "low": interval.low, "high": interval.high}
            row |= {"verdict": verdict(interval, metric, relevant), "covers": _covered(*counts)}
            rows.append({**row, "n_first": counts[0], "n_second": counts[1]})
    return pd.DataFrame(rows)


def _difference(replicated: Replicates, level: float, *, paired: bool) -> Interval:
    """Return the interval of first minus second."""
    trainings = ("both", "both") if paired else None
    return contrast(replicated, (1.0, -1.0), level, trainings).within(-1.0, 1.0)
