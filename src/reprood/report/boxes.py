"""Boxes of class activation maps on test images, next to the true ones."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reprood.data.arrays import load_split
from reprood.evaluate.localisation import ENDS, overlaps
from reprood.report.pictures import picture, shown_rows
from reprood.report.results import BenchmarkResults
from reprood.report.style import new_figure

COUNT = 8
TRUE, FOUND = "#56B4E9", "#E69F00"


def draw_boxes(results: BenchmarkResults, data: Path) -> Figure:
    """Draw a row per method, a column per test image: true box and box of the map (first replicate)."""
    stored = load_split(results.data_path(data, "test"))
    rows = shown_rows(np.asarray(stored.labels), COUNT)
    methods = [method for method in results.methods if results.shown(method)]
    figure = new_figure(7.2, 0.92 * len(methods) + 0.1)
    axes = figure.subplots(len(methods), len(rows), squeeze=False)
    for line, method in enumerate(methods):
        test = results.shown(method)[0].split("test")
        true, found = (test[[f"{name}_{end}" for end in ENDS]].to_numpy(dtype=float) for name in ("box", "cam"))
        right = test["label_rank"].to_numpy() == 0
        overlap = overlaps(test, "cam")
        for column, row in enumerate(rows):
            axis = axes[line, column]
            picture(axis, np.array(stored.images[row]))
            if (true[row] >= 0).all():  # -1: no true box
                _outline(axis, true[row], TRUE, "-")
            _outline(axis, found[row], FOUND, (0, (2, 1)))
            wrong = "" if right[row] else ", wrong class"
            axis.set_xlabel(f"{100 * overlap[row]:.0f} %{wrong}", fontsize=6, labelpad=2)
        label = results.label(method).replace(" (", "\n(")
        axes[line, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    return figure


def _outline(axis: Axes, box: np.ndarray, colour: str, dashes: str | tuple[int, tuple[int, ...]]) -> None:
    """Draw a box; its ends are exclusive and pixels are centred on integers."""
    x0, y0, x1, y1 = (float(end) - 0.5 for end in box)
    axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.2, linestyle=dashes))
