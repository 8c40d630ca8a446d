"""Figure of the inference times: milliseconds per image of every detector, and the ratio to MSP."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reprood.report.studies.numbers import listed, mean, text
from reprood.report.style import PALETTE, new_figure

NAMES = {
    "msp": "MSP", "energy": "Energy", "cnc": "CnC", "knn": "KNN", "mahalanobis": "Mahalanobis", "odin": "ODIN",
    "godin": "Generalized ODIN",
}  # fmt: skip
METRICS = {"ms_per_image": "milliseconds per image", "ratio_to_msp": "ratio to MSP"}


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw a row per detector: rounds as grey dots, each seed's median as a bar, the ratio to MSP on the right."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"])]
    figure = new_figure(7.2, 0.5 + 0.24 * len(arms))
    axes = figure.add_subplot()
    medians = rows[rows["metric"] == "ms_per_image"]
    ratios = rows[rows["metric"] == "ratio_to_msp"].groupby("arm")["value"].mean()
    for place, arm in enumerate(arms):
        rounds = arrays[f"times_{arm}"].ravel()
        axes.plot(rounds, np.full(len(rounds), place), ".", color="#bbbbbb", markersize=4)
        values = medians.loc[medians["arm"] == arm, "value"].to_numpy()
        axes.plot(values, np.full(len(values), place), "|", color=PALETTE[1], markersize=11, markeredgewidth=1.6)
        axes.annotate(
            f"{ratios[arm]:.2f} x",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
        )
    axes.set_yticks(range(len(arms)), [NAMES[arm] for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds per image (dots: rounds, bars: median of each seed's model)")
    axes.annotate("ratio", (1.02, -0.75), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    axes.grid(visible=False, axis="y")
    return figure


def conclude(rows: pd.DataFrame) -> str:
    """State how long each score takes, as a multiple of the time of MSP."""
    arms = [arm for arm in NAMES if arm in set(rows["arm"]) and arm != "msp"]
    found = sorted(arms, key=lambda arm: mean(rows, "ratio_to_msp", arm))
    times = [f"{NAMES[arm]} {text(mean(rows, 'ratio_to_msp', arm))}" for arm in found]
    return (
        f"MSP takes {text(mean(rows, 'ms_per_image', 'msp'))} ms per image; multiples of its time: {listed(times)}; "
        "means over replicates."
    )
