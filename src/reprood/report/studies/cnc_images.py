"""Figure of CnC's synthetic images: examples, how uncertain a plain classifier is on them, how much they differ."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reprood.report.studies.numbers import listed, mean, text
from reprood.report.style import PALETTE, log_scale, new_figure

NAMES = {"source": "Source", "pbcc": "PBCC", "corruption": "Corruption", "cnc": "CnC"}
METRICS = {"entropy": "mean entropy, nats", "feature_distance": "feature distance, source = 1"}
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
    panels["entropy"].set_xlabel("mean entropy")
    dots(panels["feature_distance"], rows, "feature_distance", arms)
    panels["feature_distance"].set_xlabel("feature distance\n(source = 1)")
    panels["feature_distance"].tick_params(labelleft=False)
    return figure


def dots(axes: Axes, rows: pd.DataFrame, metric: str, arms: list[str]) -> None:
    """Draw one dot per seed and a bar at the mean, arm by arm."""
    for place, arm in enumerate(arms):
        values = rows.loc[(rows["metric"] == metric) & (rows["arm"] == arm), "value"].to_numpy()
        axes.plot(values, np.full(len(values), place), "o", color=COLOURS[arm], markersize=3.5, alpha=0.7)
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1.2)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_yticks(range(len(arms)), [NAMES[arm] for arm in arms])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=False, axis="y")


def conclude(rows: pd.DataFrame) -> str:
    """State on which images a plain classifier is least and most certain."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"])]
    found = sorted(arms, key=lambda arm: -mean(rows, "entropy", arm))
    return (
        "Mean entropy of a plain classifier, least certain first: "
        + listed([f"{NAMES[arm]} {text(mean(rows, 'entropy', arm))}" for arm in found])
        + " nats; means over replicates."
    )
