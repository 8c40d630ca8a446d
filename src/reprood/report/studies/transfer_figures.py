"""What the figures of detection and captioning share: names, colours, pictures and numbers by arm."""

import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reprood.report.studies.numbers import listed, mean, text
from reprood.report.style import PALETTE

NAMES = {"erm": "Baseline", "mixup": "Mixup", "cutout": "Cutout", "cutmix": "CutMix", "data": "Data"}
SIZES = {"train_images": "training images", "test_images": "test images", "words": "words of the vocabulary"}
COLOURS = dict(zip(("erm", "mixup", "cutout", "cutmix"), (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4]), strict=True))

NOTE_WIDTH = 140  # characters of a line of notes


def arms_of(rows: pd.DataFrame) -> list[str]:
    """Return the arms with classifiers, in the order of the study."""
    return [str(arm) for arm in rows["arm"].unique() if arm != "data"]


def name_of(arm: str) -> str:
    """Return an arm's name for readers."""
    return NAMES.get(arm, arm.replace("_", " "))


def show(axes: Axes, image: np.ndarray) -> None:
    """Draw an image uint8 [H, W, C] without axes."""
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.grid(visible=False)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)


def footnotes(figure: Figure, notes: Iterable[str]) -> None:
    """Write notes below a figure."""
    text = textwrap.fill(" ".join(map(str, notes)), NOTE_WIDTH)
    if text:
        figure.supxlabel(text, fontsize=6)


def dots(axes: Axes, rows: pd.DataFrame, metric: str, label: str, *, named: bool) -> None:
    """Draw one dot per seed, joined across the arms of a seed, and a bar at each arm's mean."""
    arms = arms_of(rows)
    part = rows[(rows["metric"] == metric) & rows["arm"].isin(arms)]
    table = part.pivot(index="seed", columns="arm", values="value").reindex(columns=arms)
    places = np.arange(len(arms))
    for values in table.to_numpy():
        axes.plot(values, places, color="#cccccc", linewidth=0.6, zorder=1)
    for place, arm in enumerate(arms):
        colour = COLOURS.get(arm, "#555555")
        axes.plot(table[arm], np.full(len(table), place), "o", color=colour, markersize=3.5, alpha=0.7)
        axes.plot([table[arm].mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1.2)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_yticks(places, [name_of(arm) for arm in arms] if named else [""] * len(arms))
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=False, axis="y")


def ranked(rows: pd.DataFrame, metric: str) -> str:
    """Return the arms' means of a metric, the highest first: 'CutMix 51, Baseline 48'."""
    arms = sorted(arms_of(rows), key=lambda arm: -mean(rows, metric, arm))
    return listed([f"{name_of(arm)} {text(mean(rows, metric, arm))}" for arm in arms])
