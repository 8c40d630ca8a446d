"""Numbers of studies, as figures, tables and conclusions state them."""

import numpy as np
import pandas as pd


def mean(rows: pd.DataFrame, metric: str, arm: str) -> float:
    """Return the mean over replicates of an arm's metric; NaN if it was not measured."""
    return float(rows.loc[(rows["metric"] == metric) & (rows["arm"] == arm), "value"].mean())


def text(value: float) -> str:
    """Return a number with three significant digits and without an exponent.

    Examples
    --------
    >>> text(0.0000933), text(1053.2), text(2.0), text(-0.5)
    ('0.0000933', '1,053', '2', '−0.5')
    """
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        shown = f"{abs(value):,.0f}"
    else:
        shown = np.format_float_positional(abs(value), precision=3, unique=False, fractional=False, trim="-")
    return f"−{shown}" if value < 0 else shown


def listed(parts: list[str]) -> str:
    """Join words: 'a, b and c'.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] if parts else ""


def summary(rows: pd.DataFrame, arms: dict[str, str], metrics: dict[str, str]) -> str:
    """Return a sentence on the first metric: which arm has the highest and which the lowest mean.

    For a study without a conclusion of its own.
    """
    metric = str(rows["metric"].iloc[0])
    means = rows[rows["metric"] == metric].groupby("arm", sort=False)["value"].mean()

    def named(arm: str) -> str:
        return f"{arms.get(arm, arm.replace('_', ' '))} ({text(float(means[arm]))})"

    what = metrics.get(metric, metric.replace("_", " "))
    if len(means) == 1:
        return f"Mean over replicates of {what}: {named(str(means.index[0]))}."
    return f"Highest {what}: {named(str(means.idxmax()))}; lowest: {named(str(means.idxmin()))}; means over replicates."
