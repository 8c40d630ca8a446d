"""Figure of BiaMAT's gate: confidence of the primary head on auxiliary images, the threshold, the share that passes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reprood.report.studies.numbers import listed, mean, text
from reprood.report.style import ID_COLOUR, PALETTE, new_figure

METRICS = {
    "threshold": "threshold of the gate", "in_share": "share of images that pass", "confidence": "mean confidence",
}  # fmt: skip
COLOURS = (PALETTE[4], PALETTE[2], PALETTE[3], PALETTE[5])


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw a histogram per auxiliary set (first seed), with the primary set's and the threshold; IN shares by seed."""
    sets = list(dict.fromkeys(rows.loc[rows["metric"] == "threshold", "arm"]))
    colours = dict(zip(sets, (COLOURS * len(sets))[: len(sets)], strict=True))
    figure = new_figure(7.2, 2.5)
    panels = figure.subplots(1, len(sets) + 1, width_ratios=(*[1.3] * len(sets), 1))
    first = rows["seed"].iloc[0]
    for axes, name in zip(panels, sets):
        for arm, colour, label in ((f"primary_{name}", ID_COLOUR, "primary"), (name, colours[name], name)):
            counts = arrays[f"confidence_{arm}"]
            axes.stairs(counts / max(counts.sum(), 1), arrays["edges"], color=colour, label=label)
        chosen = (rows["arm"] == name) & (rows["seed"] == first) & (rows["metric"] == "threshold")
        axes.axvline(rows.loc[chosen, "value"].iloc[0], color="black", linestyle="--", label="threshold")
        axes.set(xlabel="confidence of the primary head", ylabel="share of images", xlim=(0, 1))
        axes.legend()
    last = panels[-1]
    for place, name in enumerate(sets):
        values = rows.loc[(rows["metric"] == "in_share") & (rows["arm"] == name), "value"].to_numpy()
        last.plot(np.full(len(values), place), values, "o", color=colours[name], markersize=3.5, alpha=0.7)
        last.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color="black")
    last.set(ylabel="share of images that are IN", xlim=(-0.5, len(sets) - 0.5), ylim=(0, 1.03))
    last.set_xticks(range(len(sets)), sets)
    last.grid(visible=False, axis="x")
    return figure


def conclude(rows: pd.DataFrame) -> str:
    """State which share of either auxiliary set passes the gate, and which of the primary set."""
    sets = list(dict.fromkeys(rows.loc[rows["metric"] == "threshold", "arm"]))
    shares = [f"{text(100 * mean(rows, 'in_share', name))} % of the {name} auxiliary set" for name in sets]
    primary = [f"{text(100 * mean(rows, 'in_share', f'primary_{name}'))} %" for name in sets]
    trained = " and ".join(f"the {name} set" for name in sets)
    own = f"Of the primary set, {listed(primary)} would pass (trained with {trained})."
    return f"The gate lets {listed(shares)} pass. {own} All are means over replicates."
