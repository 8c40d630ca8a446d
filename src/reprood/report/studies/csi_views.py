"""Figure of CSI's test-time views: AUROC over their number."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reprood.report.style import PALETTE, new_figure


def draw(rows: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw one thin line for each seed, and the mean."""
    table = rows.assign(views=rows["arm"].str.removeprefix("views_").astype(int), value=100 * rows["value"])
    wide = table.pivot_table(index="views", columns="seed", values="value").sort_index()
    figure = new_figure(3.6, 2.6)
    axes = figure.subplots()
    axes.plot(wide.index, wide.to_numpy(), color=PALETTE[0], linewidth=0.6, alpha=0.4)
    axes.plot(wide.index, wide.mean(axis=1), "o-", color=PALETTE[0], label="mean")
    axes.set(xlabel="views at test time", ylabel="AUROC, %")
    axes.set_xticks(list(wide.index), [str(count) for count in wide.index])
    axes.minorticks_off()
    axes.legend()
    return figure
