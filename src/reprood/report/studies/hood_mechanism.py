"""Figure of HOOD's mechanism: HSIC and its mean over pairings, spread and norm of either set of features."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reprood.report.studies.numbers import listed, mean, text
from reprood.report.style import ID_COLOUR, OOD_COLOURS, PALETTE, legend_below, log_scale, new_figure

NAMES = {
    "erm": "cross-entropy", "erm_oe": "cross-entropy", "oe": "Outlier Exposure", "hood": "HOOD",
    "mean_over_pairings": "mean over pairings",
}  # fmt: skip
METRICS = {
    "hsic": "HSIC", "hsic_expected": "HSIC, mean over pairings", "hsic_relative_gap": "relative difference of the two",
    "pairing_spread": "spread over pairings, relative", "kbar": "mean kernel, outliers", "lbar": "mean kernel, ID",
    "norm_id": "feature norm, ID", "norm_outlier": "feature norm, outliers",
}  # fmt: skip
OUTLIER_COLOUR = OOD_COLOURS["near"]


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw HSIC of one batch, as paired and under random pairings (left); spreads and norms of features by seed."""
    methods = list(dict.fromkeys(rows.loc[rows["metric"] == "hsic", "arm"]))
    figure = new_figure(7.2, 2.8)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    pairings(left, arrays, methods)
    for axes, (inside, outside), label, complement in (
        (middle, ("lbar", "kbar"), "spread (1 \N{MINUS SIGN} mean kernel)", True),
        (right, ("norm_id", "norm_outlier"), "mean norm of features", False),
    ):
        dots(axes, rows, inside, methods, -0.15, ID_COLOUR, "ID", complement)
        dots(axes, rows, outside, methods, 0.15, OUTLIER_COLOUR, "outliers", complement)
        axes.set_ylabel(label)
        ticks(axes, methods)
    log_scale(middle)  # the outliers' is smaller by powers of ten
    right.set_ylim(bottom=0)
    entries = [pair for axes in (left, right) for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    legend_below(figure, [handle for handle, _ in entries], [name for _, name in entries])
    return figure


def pairings(axes: Axes, arrays: Mapping[str, np.ndarray], methods: Sequence[str]) -> None:
    """Draw random pairings of the first seed's first batch as small dots, its own pairing, and the mean over all."""
    for place, method in enumerate(methods):
        values = arrays[f"pairings_{method}"]
        paired, expected = arrays[f"pair_{method}"]
        around = place + 0.25 * np.linspace(-1, 1, len(values))
        axes.plot(around, values, ".", color="#999999", markersize=2, label="random pairings" if place == 0 else None)
        axes.plot([place - 0.32, place + 0.32], [expected] * 2, color="black", label="mean" if place == 0 else None)
        axes.plot(place, paired, "D", color=PALETTE[4], markersize=4, label="as paired" if place == 0 else None)
    log_scale(axes)
    axes.set_ylabel("HSIC of one batch")
    ticks(axes, methods)


def dots(
    axes: Axes,
    rows: pd.DataFrame,
    metric: str,
    methods: Sequence[str],
    shift: float,
    colour: str,
    label: str,
    complement: bool,
) -> None:
    """Draw one dot per seed and a line at the mean, method by method; 1 minus the values with `complement`."""
    for place, method in enumerate(methods):
        values = rows.loc[(rows["metric"] == metric) & (rows["arm"] == method), "value"].to_numpy()
        values = 1 - values if complement else values
        x = place + shift
        axes.plot(np.full(len(values), x), values, "o", color=colour, markersize=3.5, alpha=0.7)
        axes.plot([x - 0.12, x + 0.12], [values.mean()] * 2, color=colour, label=label if place == 0 else None)


def ticks(axes: Axes, methods: Sequence[str]) -> None:
    """Label the x axis with the names of the methods."""
    axes.set_xlim(-0.5, len(methods) - 0.5)
    names = [NAMES.get(method, method.replace("_", " ")) for method in methods]
    axes.set_xticks(range(len(methods)), [re.sub("[ -]", lambda m: f"{m[0].strip()}\n", n) for n in names], fontsize=7)
    axes.grid(visible=False, axis="x")


def conclude(rows: pd.DataFrame) -> str:
    """State how far HSIC is from its mean over all pairings, and how the spread of the outliers' features changes."""
    methods = list(dict.fromkeys(rows.loc[rows["metric"] == "hsic", "arm"]))
    named = {method: NAMES.get(method, method.replace("_", " ")) for method in methods}
    gaps = [f"{named[one]} {text(100 * mean(rows, 'hsic_relative_gap', one))} %" for one in methods]
    spreads = [f"{named[one]} {text(1 - mean(rows, 'kbar', one))}" for one in methods]
    return (
        f"HSIC of the actual pairing differs from its mean over all pairings by {listed(gaps)}; spread of the "
        f"outliers' features (1 \N{MINUS SIGN} mean kernel): {listed(spreads)}; means over replicates."
    )
