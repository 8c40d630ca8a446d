"""Figure of the OOD-ness of transformations: AUROC of SimCLR between images and transformed copies, and the images."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reprood.report.style import PALETTE, new_figure

NAMES = {"none": "unchanged", "cutperm": "permuted quarters", "rotation": "rotation"}


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw the AUROC of each family, dots are seeds (left), and images under its last shift (right)."""
    families = list(dict.fromkeys(rows["arm"]))
    figure = new_figure(7.2, 0.42 * (len(families) + 2))
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    for place, family in enumerate(families):
        values = rows.loc[rows["arm"] == family, "value"].to_numpy()
        left.plot(values, np.full(len(values), place), "o", color=PALETTE[0], markersize=3.5, alpha=0.7)
        left.plot([values.mean()] * 2, [place - 0.25, place + 0.25], color="black")
    left.axvline(50, color="#999999", linestyle="--")
    left.set(xlabel="AUROC of SimCLR, images against copies, %", ylim=(len(families) - 0.5, -0.5))
    left.set_yticks(range(len(families)), [NAMES.get(name, name) for name in families])
    left.grid(visible=False, axis="y")
    shown = ["none", *families]
    grid = np.concatenate([np.concatenate(list(arrays[f"images_{name}"]), axis=1) for name in shown])
    right.imshow(grid if grid.shape[2] == 3 else grid[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    side = arrays["images_none"].shape[1]
    right.set_yticks([(place + 0.5) * side for place in range(len(shown))], [NAMES.get(name, name) for name in shown])
    right.set_xticks([])
    right.grid(visible=False)
    return figure
