"""Figure of BiaMAT's Gaussian model: the gain of every feature, and the robust error by seed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reprood.report.style import ID_COLOUR, PALETTE, new_figure

NAMES = {
    "at": "AT",
    "uniform": "near, uniform",
    "near": "near, labels",
    "far_uniform": "far, uniform",
    "far": "far, labels",
}


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw the first seed's gains (left: the robust feature is a large dot), and the robust errors of all seeds."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"])]
    errors = rows[rows["metric"] == "robust_error"]
    figure = new_figure(7.2, 2.6)
    left, right = figure.subplots(1, 2)
    for place, arm in enumerate(arms):
        gains = arrays[f"gains_{arm}"]
        spread = place + np.linspace(-0.25, 0.25, len(gains) - 1)
        left.plot(spread, gains[1:], ".", color=PALETTE[2], markersize=2, label="not robust" if place == 0 else None)
        left.plot(place, gains[0], "o", color=ID_COLOUR, markersize=5, label="robust" if place == 0 else None)
        values = errors.loc[errors["arm"] == arm, "value"].to_numpy()
        right.plot(np.full(len(values), place), values, "o", color=PALETTE[1], markersize=4, alpha=0.7)
        right.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color="black")
    left.axhline(0, color="black", linewidth=0.6)
    left.set_ylabel("gain of a feature")
    left.legend()
    right.set_ylabel("robust error (%)")
    for axes in (left, right):
        axes.set_xticks(range(len(arms)), [NAMES[arm].replace(", ", ",\n") for arm in arms])
        axes.grid(visible=False, axis="x")
    return figure
