"""Figure of CnC's synthetic images: examples, how uncertain a plain classifier is on them, how much they differ."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reprood.report.style import PALETTE, log_scale, new_figure

NAMES = {"source": "Source", "pbcc": "PBCC", "corruption": "Corruption", "cnc": "CnC"}
COLOURS = dict(zip(NAMES, (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4]), strict=True))


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw images of every arm, from the same sources (left), histograms of the entropy, and means by seed (right)."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"])]
    figure = new_figure(7.2, 3.1)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.15, 1))
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    for axes, arm in zip(np.atleast_1d(left.subplots(len(arms), 1)), arms, strict=True):
        images = arrays[f"shown_{arm}"]
        strip = np.concatenate(list(np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)), axis=1)
        axes.imshow(strip[..., 0] if strip.shape[-1] == 1 else strip, cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(NAMES[arm], rotation=0, ha="right", va="center", color=COLOURS[arm])
        axes.grid(visible=False)
        axes.set(xticks=(), yticks=())
        axes.spines[:].set_visible(False)
    panels = right.subplot_mosaic([["histogram", "histogram"], ["entropy", "feature_distance"]])
    edges = arrays["edges"]
    for arm in arms:
        counts = arrays[f"entropy_{arm}"]
        panels["histogram"].stairs(counts / counts.sum(), edges, color=COLOURS[arm])
    panels["histogram"].set(xlabel="entropy of the prediction (nats)", ylabel="share of images", xlim=(0, edges[-1]))
    log_scale(panels["histogram"])
    dots(panels["entropy"], rows, "entropy", arms)
    panels["entropy"].set_ylabel("mean entropy")
    dots(panels["feature_distance"], rows, "feature_distance", arms)
    panels["feature_distance"].set_ylabel("feature distance\n(source = 1)")
    return figure


def dots(axes: Axes, rows: pd.DataFrame, metric: str, arms: list[str]) -> None:
    """Draw one dot per seed and a bar at the mean, arm by arm."""
    for place, arm in enumerate(arms):
        values = rows.loc[(rows["metric"] == metric) & (rows["arm"] == arm), "value"].to_numpy()
        axes.plot(np.full(len(values), place), values, "o", color=COLOURS[arm], markersize=3.5, alpha=0.7)
        axes.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color="black", linewidth=1.2)
    axes.set_xlim(-0.5, len(arms) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(arms)), [NAMES[arm] for arm in arms], rotation=30, ha="right", rotation_mode="anchor")
    axes.grid(visible=False, axis="x")
