"""Anomaly maps over test images, with the outlines of the masks."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from reprood.data.arrays import load_split
from reprood.evaluate.maps import stored_maps
from reprood.report import labels
from reprood.report.pictures import picture, shown_rows
from reprood.report.results import BenchmarkResults
from reprood.report.style import new_figure, notice

GOOD, BAD = 2, 8  # images with and without a defect that are shown


def draw_heat_maps(results: BenchmarkResults, data: Path) -> Figure:
    """Draw one row per method: its map over some test images (first replicate), with the true defect outlined.

    Each method has one colour scale, from the median to the highest value of all its test pixels.
    """
    methods = [method for method in results.mapping() if results.shown(method)]
    if not methods:
        return notice("No method of this benchmark gives anomaly maps.")
    splits = ("test", *results.benchmark.ood)
    images, rows, names, start = [], [], [], 0
    for split in splits:
        stored = load_split(results.data_path(data, split))
        count = GOOD if split == "test" else -(-BAD // len(results.benchmark.ood))
        chosen = shown_rows(np.asarray(stored.extras["source_label"]), count)
        images += [np.array(stored.images[row]) for row in chosen]
        names += ["no defect" if split == "test" else labels.split(split)] * len(chosen)
        rows += [start + int(row) for row in chosen]
        start += len(stored)
    figure = new_figure(7.2, 0.72 * (len(methods) + 1) + 0.25)
    axes = figure.subplots(len(methods) + 1, len(rows), squeeze=False)
    for line, method in enumerate([None, *methods]):
        maps = None if method is None else stored_maps(results.shown(method)[0], splits)
        for column, row in enumerate(rows):
            axis = axes[line, column]
            picture(axis, images[column])
            if line == 0:
                axis.set_title(names[column], fontsize=6)
            if maps is not None:
                low, high = np.quantile(maps.levels, 0.5), maps.levels.max()
                axis.imshow(maps.levels[row], cmap="inferno", vmin=low, vmax=high, alpha=0.65)
                if maps.masks[row].any():
                    axis.contour(maps.masks[row], levels=[0.5], colors="#56B4E9", linewidths=0.7)
        label = "image" if method is None else results.label(method)
        axes[line, 0].set_ylabel(textwrap.fill(label, 20), rotation=0, ha="right", va="center", fontsize=7)
    return figure
