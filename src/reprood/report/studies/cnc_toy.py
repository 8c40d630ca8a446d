"""Figure of CnC's toy problem: decision regions of every arm, and the empty area that each calls in-distribution."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reprood.report.studies.numbers import mean, text
from reprood.report.style import ID_COLOUR, PALETTE, legend_below, log_scale, new_figure

NAMES = {"vanilla": "No outliers", "pbcc": "PBCC", "corruption": "Corruption", "r_cnc": "r-CnC", "cnc": "CnC"}
METRICS = {
    "empty_id_area": "empty area classified as ID", "log_empty_id_area": "log10 of the empty area classified as ID",
    "error": "error, %", "auroc": "AUROC", "regions": "linear regions",
}  # fmt: skip
POINT_COLOURS = (ID_COLOUR, "#D55E00")
MAP_COLOURS = ("#a9cbe6", "#f2c0a0", "#f0f0f0")  # two classes, outlier
HATCH = "#8a8a8a"


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw the first seed's maps, empty in-distribution polygons hatched (top), and their area by seed (bottom)."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"])]
    areas = rows[rows["metric"] == "empty_id_area"]
    figure = new_figure(7.2, 3.3)
    grid = figure.add_gridspec(2, len(arms), height_ratios=(1.35, 1))
    low, high = arrays["window"]
    extent = (low, high, low, high)
    first = None
    for place, arm in enumerate(arms):
        axes = figure.add_subplot(grid[0, place], sharex=first, sharey=first)
        first = first or axes
        axes.imshow(
            arrays[f"class_{arm}"], cmap=ListedColormap(MAP_COLOURS), vmin=0, vmax=2, extent=extent, origin="lower",
            interpolation="nearest",
        )  # fmt: skip
        empty = arrays[f"empty_{arm}"].astype(float)
        if empty.any():
            hatched = axes.contourf(
                empty, levels=(0.5, 1.5), colors="none", hatches=["/////"], extent=extent, origin="lower"
            )
            hatched.set(edgecolor=HATCH, linewidth=0)
        for label, colour in enumerate(POINT_COLOURS):
            chosen = arrays["points"][arrays["labels"] == label]
            axes.plot(*chosen[::4].T, ".", color=colour, markersize=1.2, rasterized=True)
        axes.set_title(NAMES[arm])
        axes.grid(visible=False)
        axes.set(xticks=(), yticks=())
        axes.spines[:].set_visible(True)
    axes = figure.add_subplot(grid[1, :])
    for place, arm in enumerate(arms):
        values = areas.loc[areas["arm"] == arm, "value"].to_numpy()
        axes.plot(np.full(len(values), place), values, "o", color=PALETTE[1], markersize=4, alpha=0.7)
        axes.plot([place - 0.2, place + 0.2], [values.mean()] * 2, color="black", linewidth=1.4)
        axes.annotate(f"{values.mean():.2f}", (place + 0.24, values.mean()), va="center", fontsize=8)
    if (areas["value"] > 0).all():
        log_scale(axes)
    axes.set_xlim(-0.5, len(arms) - 0.5)
    axes.set_xticks(range(len(arms)), [NAMES[arm] for arm in arms])
    axes.set_ylabel(f"empty ID area\n(of {(high - low) ** 2:g})")
    axes.grid(visible=False, axis="x")
    handles = [
        *(Patch(color=colour, label=f"class {i + 1}") for i, colour in enumerate(MAP_COLOURS[:2])),
        Patch(facecolor=MAP_COLOURS[2], edgecolor="#999999", linewidth=0.5, label="outlier"),
        Patch(
            facecolor="none", edgecolor=HATCH, hatch="/////", linewidth=0, label="in-distribution, no training point"
        ),
        Line2D([], [], color="black", linewidth=1.4, label="mean of seeds"),
    ]
    legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    return figure


def conclude(rows: pd.DataFrame) -> str:
    """State the empty area that CnC, the arm without outliers and the best arm call in-distribution."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"])]
    areas = {arm: mean(rows, "empty_id_area", arm) for arm in arms}
    least = min(areas, key=lambda arm: areas[arm])
    parts = [f"{NAMES[arm]} {text(areas[arm])}" for arm in ("vanilla", "cnc") if arm in areas]
    return (
        f"Empty area classified as in-distribution: {', '.join(parts)}; least: {NAMES[least]} ({text(areas[least])})."
    )
