"""Figure of DIAS' fakes: images and maps of each kind, a plain classifier's confidence, and whose label they get."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reprood.report.studies.numbers import mean, text
from reprood.report.style import PALETTE, new_figure

NAMES = {
    "known": "known images",
    "hard_first": "hard, stage 1",
    "hard_second": "hard, stage 2",
    "moderate": "moderate (GAN)",
    "easy": "easy",
}
METRICS = {"confidence": "confidence, %", "agreement": "class of the source, %", "gap": "gap of the maps"}
COLOURS = dict(zip(NAMES, (PALETTE[0], PALETTE[4], PALETTE[2], PALETTE[3], PALETTE[1]), strict=True))
STRIPS = {
    "source": ("image", "known"),
    "map_classifier": ("map, stage 1", "known"),
    "map_copycat": ("its copy\n(hard)", "hard_first"),
    "generated": ("GAN\n(moderate)", "moderate"),
}


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw images, maps and fakes (left); distribution and mean of the confidence, and agreement by seed (right)."""
    figure = new_figure(7.2, 2.9)
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.1))
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    for axes, (name, (label, colour)) in zip(left.subplots(len(STRIPS), 1), STRIPS.items(), strict=True):
        strip(axes, arrays[name])
        axes.set_ylabel(label, rotation=0, ha="right", va="center", color=COLOURS[colour])
    panels = right.subplot_mosaic([["histogram", "histogram"], ["confidence", "agreement"]])
    edges = arrays["edges"]
    for arm in NAMES:
        counts = arrays[f"confidence_{arm}"]
        panels["histogram"].stairs(np.cumsum(counts) / counts.sum(), edges, color=COLOURS[arm], baseline=None)
    # the coloured names of the panel below are the legend
    panels["histogram"].set(
        xlabel="confidence of the plain classifier", ylabel="share below", xlim=(0, 1), ylim=(0, 1.02)
    )
    dots(panels["confidence"], rows, "confidence", list(NAMES))
    panels["confidence"].set_xlabel("confidence (%)")
    dots(panels["agreement"], rows, "agreement", list(NAMES))
    panels["agreement"].set_xlabel("source's label (%)")
    panels["agreement"].tick_params(labelleft=False)
    chance = rows.loc[(rows["arm"] == "chance") & (rows["metric"] == "agreement"), "value"].mean()
    panels["agreement"].axvline(chance, color="#777777", linewidth=0.7, linestyle=(0, (3, 2)))
    return figure


def dots(axes: Axes, rows: pd.DataFrame, metric: str, arms: list[str]) -> None:
    """Draw one dot per seed and a bar at the mean, arm by arm."""
    for place, arm in enumerate(arms):
        values = rows.loc[(rows["metric"] == metric) & (rows["arm"] == arm), "value"].to_numpy()
        if not len(values):  # generated images have no source
            continue
        axes.plot(values, np.full(len(values), place), "o", color=COLOURS[arm], markersize=3.5, alpha=0.7)
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1.2)
    axes.set(ylim=(len(arms) - 0.5, -0.5), xlim=(0, 104))
    axes.set_xticks((0, 50, 100))
    axes.set_yticks(range(len(arms)), [NAMES[arm] for arm in arms])
    for label, arm in zip(axes.get_yticklabels(), arms, strict=True):
        label.set_color(COLOURS[arm])
    axes.grid(visible=False, axis="y")


def strip(axes: Axes, images: np.ndarray) -> None:
    """Draw images [n, H, W] or [n, H, W, C] in a row."""
    if images.ndim == 3:
        images = images[..., None]
    row = np.concatenate(list(np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)), axis=1)
    axes.imshow(row[..., 0] if row.shape[-1] == 1 else row, cmap="gray", vmin=0, vmax=255)
    axes.set_anchor("W")  # next to its label, for which the layout keeps room
    axes.grid(visible=False)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)


def conclude(rows: pd.DataFrame) -> str:
    """State how confident the classifier is on each kind of fake, and how often a hard one keeps its source's class."""
    shown = {"known": "known images", "hard": "hard fakes", "moderate": "generated images", "easy": "easy fakes"}
    parts = [f"{name} {text(mean(rows, 'confidence', arm))} %" for arm, name in shown.items()]
    kept, chance = (text(mean(rows, "agreement", arm)) for arm in ("hard", "chance"))
    return (
        f"Confidence of a plain classifier: {', '.join(parts)}. It gives {kept} % of the hard fakes the class of their "
        f"source (chance: {chance} %)."
    )
