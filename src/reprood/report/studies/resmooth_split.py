"""Figure of ReSmooth's split: log-losses and the mixture, images on either side, share of OOD views by N and M."""

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reprood.report.studies.numbers import mean, text
from reprood.report.style import ID_COLOUR, OOD_COLOURS, new_figure

OOD_COLOUR = OOD_COLOURS["near"]
VIEWS = {"weak": "#777777", "strong": "#009E73"}
NAMES = {"two": "two Gaussians", "one": "one Gaussian", "weak": "weak views", "id": "ID views", "ood": "OOD views"}
NAMES |= {
    f"n{n}_m{m}": f"strong views ({n} operation{'s' if n > 1 else ''}, magnitude {m})"
    for n in range(1, 5)
    for m in range(31)
}
METRICS = {
    "bic": "BIC", "bic_difference": "BIC, two minus one", "id_mean": "mean of the ID component",
    "ood_mean": "mean of the OOD component", "ood_weight": "weight of the OOD component",
    "collapsed": "collapsed component", "share_ood": "share of OOD views, %", "accuracy": "accuracy, %",
}  # fmt: skip
ARM = re.compile(r"n(\d+)_m([\d.]+)")


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw histograms of the first seed with both components, the share of OOD views (top), strong views (bottom)."""
    figure = new_figure(7.2, 3.9)
    halves = figure.add_gridspec(2, 1, height_ratios=(1.75, 1))
    top, bottom = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    left, middle, right = top.subplots(1, 3, width_ratios=(2.2, 1, 1))
    histogram(left, arrays)
    shares = rows[rows["metric"] == "share_ood"]
    settings = {
        arm: (int(match[1]), float(match[2])) for arm in shares["arm"].unique() if (match := ARM.fullmatch(arm))
    }
    own_n, own_m = next(iter(settings.values()))  # the mixture's own setting comes first
    by_m = {m: arm for arm, (n, m) in settings.items() if n == own_n}
    by_n = {float(n): arm for arm, (n, m) in settings.items() if m == own_m}
    grid(middle, shares, by_m, f"M (N = {own_n})")
    grid(right, shares, by_n, f"N (M = {own_m:g})")
    middle.set_ylabel("share OOD (%)")
    highest = 1.08 * max(float(shares["value"].max()), 1.0)
    for axes in (middle, right):
        axes.set_ylim(0, highest)
    right.legend(loc="lower right")
    for axes, name, label, colour in zip(
        bottom.subplots(2, 1), ("shown_id", "shown_ood"), ("ID", "OOD"), (ID_COLOUR, OOD_COLOUR), strict=True
    ):
        strip(axes, arrays[name])
        axes.set_ylabel(label, rotation=0, ha="right", va="center", color=colour)
    return figure


def histogram(axes: Axes, arrays: Mapping[str, np.ndarray]) -> None:
    """Draw log-losses of both kinds of view, the densities of the components, and where p falls below one half."""
    edges = arrays["edges"]
    total = arrays["weak"].sum() + arrays["strong"].sum()
    bin_width = edges[1] - edges[0]
    for name, colour in VIEWS.items():
        axes.stairs(
            arrays[name] / (total * bin_width), edges, color=colour, fill=True, alpha=0.35, label=f"{name} views"
        )
    x = np.linspace(edges[0], edges[-1], 400)
    densities = [
        weight * np.exp(-0.5 * (x - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
        for mean, variance, weight in arrays["mixture"].T
    ]
    for density, label, colour in zip(densities, ("ID", "OOD"), (ID_COLOUR, OOD_COLOUR), strict=True):
        axes.plot(x, density, color=colour, label=f"{label} component")
    crossings = x[1:][np.diff(densities[0] >= densities[1])]
    for crossing in crossings:
        axes.axvline(crossing, color="#333333", linewidth=0.7, linestyle=(0, (3, 2)))
    axes.set(
        xlabel="log-loss under the plain classifier (dashed: p = 0.5)", ylabel="density", xlim=(edges[0], edges[-1])
    )
    axes.legend(loc="upper left")


def grid(axes: Axes, shares: pd.DataFrame, arms: Mapping[float, str], label: str) -> None:
    """Draw the share of OOD views along one parameter: one dot per seed, the mean as a line; also of weak views."""
    by_arm = {arm: part.to_numpy() for arm, part in shares.groupby("arm")["value"]}
    for name, colour in VIEWS.items():
        values = {x: by_arm[arm if name == "strong" else "weak"] for x, arm in sorted(arms.items())}
        for x, dots in values.items():
            axes.plot(np.full(len(dots), x), dots, "o", color=colour, markersize=3, alpha=0.6)
        axes.plot(list(values), [dots.mean() for dots in values.values()], color=colour, label=name)
    axes.set_xticks(sorted(arms), [f"{x:g}" for x in sorted(arms)])
    axes.set_xlabel(label)
    axes.margins(x=0.15)


def strip(axes: Axes, images: np.ndarray) -> None:
    """Draw images [n, H, W, C] in a row; the word "none" without images."""
    axes.grid(visible=False)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    if len(images) == 0:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes, color="#777777")
        return
    row = np.concatenate(list(np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)), axis=1)
    axes.imshow(row[..., 0] if row.shape[-1] == 1 else row, cmap="gray", vmin=0, vmax=255)


def conclude(rows: pd.DataFrame) -> str:
    """State which model of the losses fits better, and which share of weak and strong views is out of distribution."""
    difference = mean(rows, "bic_difference", "two")
    arms = [arm for arm in rows.loc[rows["metric"] == "share_ood", "arm"].unique() if ARM.fullmatch(arm)]
    better = (
        "two Gaussians fit the log-losses better than one" if difference < 0 else "one Gaussian fits as well as two"
    )
    return (
        f"By BIC, {better} (difference {text(difference)}); the upper component takes "
        f"{text(mean(rows, 'share_ood', 'weak'))} % of the weak views, on which the network was trained, and "
        f"{text(mean(rows, 'share_ood', arms[0]))} % of the strong views; means over replicates. Claims that use this "
        "split are tested on it."
    )
