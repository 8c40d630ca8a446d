"""Figures of a benchmark: training curves, ROC curves, score distributions, AUROC, augmented images."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import rank
from reprood.report import labels
from reprood.report.contents import FIGURES, resolve
from reprood.report.pictures import picture
from reprood.report.results import BenchmarkResults
from reprood.report.style import (
    ID_COLOUR,
    OOD_COLOURS,
    entries,
    legend_below,
    legend_height,
    log_scale,
    new_figure,
    notice,
    save,
)  # fmt: skip
from reprood.report.width import fit_width

GRID = np.linspace(0, 1, 121)
NINES = (0.5, 0.9, 0.99, 0.999, 0.9999)  # ticks of an axis on which a softmax probability does not pile up at 1
CURVES = {"train_loss": "training loss (of each method)", "validation_error": "validation error, %"}
FEW_EPOCHS = 4  # a line through fewer measured epochs shows where they are
TITLE = 30  # characters of a line of a panel's title
CLOSED = "Every run failed the accuracy gate, so there are no detection results."


def _panels(figure: Figure, count: int, columns: int, sharey: bool = True) -> list[Axes]:
    """Return `count` axes in rows of `columns`."""
    rows = -(-count // columns)
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False)).ravel()
    for unused in axes[count:]:
        unused.set_axis_off()
    return list(axes[:count])


def _highlighted(results: BenchmarkResults, scored: bool = False) -> list[str]:
    """Return the legend's names of the highlighted methods; `scored`: with their headline score."""
    return [_scored(results, method) if scored else results.label(method) for method in results.highlighted]


def _scored(results: BenchmarkResults, method: str) -> str:
    """Return a method's name with its headline score."""
    return f"{results.label(method)} ({labels.score(results.headline(method))})"


def curves(results: BenchmarkResults) -> Figure:
    """Draw training loss and validation error over epochs; mean over replicates, band from lowest to highest."""
    tables: dict[str, dict[str, pd.DataFrame]] = {"train_loss": {}, "validation_error": {}}
    for method in results.methods:
        # epochs are numbered through all phases of a training
        histories = [h.set_axis(np.arange(1, len(h) + 1)) for h in results.history(method)]
        for column, found in tables.items():
            if all(column in h for h in histories):
                table = pd.concat([h[column].astype(float) for h in histories], axis=1).dropna()
                if not table.empty:  # empty if nothing was trained
                    found[method] = table
    drawn = [column for column, found in tables.items() if found]
    if not drawn:
        return notice("Nothing was trained.")
    names = [results.label(method) for method in results.methods]
    figure = new_figure(7.2, 2.7 + legend_height(names, 7.2))
    panels = dict(zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True))
    for column, axes in panels.items():
        for method, table in tables[column].items():
            marker = {"marker": "o"} if len(table) < FEW_EPOCHS else {}
            axes.plot(table.index, table.mean(axis=1), **results.line(method) | marker, label=results.label(method))
            low, high = table.min(axis=1), table.max(axis=1)
            if method in results.highlighted:
                axes.fill_between(table.index, low, high, color=results.colour(method), alpha=0.12, lw=0)
        axes.set(title=CURVES[column], xlabel="epoch (all phases)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if "train_loss" in panels:
        log_scale(panels["train_loss"], subs=(1, 2, 5))
    legend_below(figure, *entries(_highlighted(results), *panels[drawn[0]].get_legend_handles_labels()))
    return figure


def _roc(id_scores: np.ndarray, ood_scores: np.ndarray) -> np.ndarray:
    """Return the true positive rate (ID positive) on a grid of false positive rates."""
    counts = rank(id_scores, ood_scores).counts()
    fpr = np.concatenate([[0], counts.of_ood / counts.of_ood[-1]])
    tpr = np.concatenate([[0], counts.of_id / counts.of_id[-1]])
    return np.asarray(np.interp(GRID, fpr, tpr))


def roc(results: BenchmarkResults) -> Figure:
    """Draw the ROC curve of each method's headline score, one panel per OOD set; mean over replicates."""
    names = list(results.benchmark.ood)
    methods = results.detecting
    if not methods:
        return notice(CLOSED)
    columns = min(len(names), 3)
    shown = [_scored(results, method) for method in methods]
    side = min(2.4 * columns, 7.2)
    width = max(side, 4.8)
    rows = -(-len(names) // columns)
    figure = new_figure(width, (side / columns + 0.12) * rows + 0.3 + legend_height(shown, width))
    figure.set_layout_engine("compressed")  # the panels are squares
    axes = _panels(figure, len(names), columns)
    for method in methods:
        score = results.headline(method)
        column = f"score_{score}"
        predictions = results.predictions(method)
        for axis, name in zip(axes, names, strict=True):
            curves_of_seeds = [
                _roc(p.split("test")[column].to_numpy(), p.split(name)[column].to_numpy()) for p in predictions
            ]
            axis.plot(GRID, np.mean(curves_of_seeds, axis=0), **results.line(method), label=_scored(results, method))
    for axis, name in zip(axes, names, strict=True):
        axis.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.6, ls=":")
        title = textwrap.fill(f"{labels.split(name)} ({results.benchmark.ood[name].shift})", TITLE)
        axis.set(title=title, xlim=(0, 1), ylim=(0, 1.01))
        axis.set_aspect("equal", adjustable="box")
    ticks = [0, 0.25, 0.5, 0.75, 1]
    for axis in axes:
        axis.set_xticks(ticks, ["0", "", "0.5", "", "1"])
        axis.set_yticks(ticks, ["0", "", "0.5", "", "1"])
    for axis in axes[-columns:]:
        axis.set_xlabel("share of OOD images accepted")
        axis.tick_params(labelbottom=True)  # also where the panel below it is empty
    for axis in axes[::columns]:
        axis.set_ylabel("share of ID images accepted")
    legend_below(figure, *entries(_highlighted(results, scored=True), *axes[0].get_legend_handles_labels()))
    return figure


def histograms(results: BenchmarkResults) -> Figure:
    """Draw histograms of each method's headline score on ID test images and on kinds of OOD sets; first replicate."""
    methods = results.detecting
    if not methods:
        return notice(CLOSED)
    titles = [textwrap.fill(_scored(results, method), 24) for method in methods]
    lines = max(title.count("\n") for title in titles)
    figure = new_figure(7.2, (1.5 + 0.12 * lines) * -(-len(methods) // 4) + 0.6)
    axes = np.atleast_1d(figure.subplots(-(-len(methods) // 4), 4, squeeze=False)).ravel()
    for axis in axes[len(methods) :]:
        axis.set_axis_off()
    for axis, method, title in zip(axes, methods, titles, strict=False):
        score = results.headline(method)
        column = f"score_{score}"
        predictions = results.predictions(method)[0]
        groups = {"ID test": predictions.split("test")[column].to_numpy()}
        for kind in OOD_COLOURS:
            sets = [name for name, outlier in results.benchmark.ood.items() if outlier.shift == kind]
            if sets:
                groups[kind] = np.concatenate([predictions.split(name)[column].to_numpy() for name in sets])
        if score == "msp":  # -log10(1 - p): spreads what lies near 1
            groups = {kind: -np.log10(np.maximum(1 - values, 1e-5)) for kind, values in groups.items()}
            axis.set_xticks([-np.log10(1 - p) for p in NINES], [f"{p:g}" for p in NINES])
        low, high = np.quantile(np.concatenate(list(groups.values())), [0.002, 1.0])
        bins = np.linspace(float(low), float(high), 41)
        for kind, values in groups.items():
            weights = np.full(len(values), 1 / len(values))
            colour = OOD_COLOURS.get(kind, ID_COLOUR)
            if kind == "ID test":
                axis.hist(values, bins, weights=weights, color=colour, label=kind, histtype="stepfilled", alpha=0.35)
            else:
                axis.hist(values, bins, weights=weights, color=colour, label=kind, histtype="step")
        axis.set_title(title, fontsize=7)
        axis.set_yticks([])
        axis.tick_params(labelsize=6)
        axis.set_xlabel("score", fontsize=6)
        if score != "msp":
            axis.xaxis.set_major_locator(MaxNLocator(4))
    legend_below(figure, *axes[0].get_legend_handles_labels())
    return figure


def auroc(results: BenchmarkResults) -> Figure:
    """Draw the AUROC of every score of every method, mean over natural OOD sets: dots are replicates, bars means."""
    split = results.natural
    methods = results.detecting
    if not methods:
        return notice(CLOSED)
    scores = list(dict.fromkeys(s for m in methods for s in results.scores(m)))
    names = [results.label(method) for method in methods]
    figure = new_figure(7.2, 0.7 + legend_height(names, 7.2) + len(scores) * max(0.18, 0.038 * len(methods)))
    axis = figure.subplots()
    for place, score in enumerate(scores):
        if place % 2:
            axis.axhspan(place - 0.5, place + 0.5, color="#f4f5f7", lw=0)
        for j, method in enumerate(methods):
            values = 100 * results.values(method, "auroc", split, score)
            if not len(values):
                continue
            y = place + (j - (len(methods) - 1) / 2) * 0.8 / len(methods)
            colour = results.line(method)["color"]
            axis.plot(values, [y] * len(values), ".", ms=4, mew=0, color=colour, alpha=0.6)
            axis.plot([values.mean()], [y], "|", ms=5, mew=1.6, color=colour)
    axis.set_yticks(range(len(scores)), [labels.score(s) for s in scores])
    axis.invert_yaxis()
    axis.set(xlabel=f"AUROC, %, {results.where(split)}", ylim=(len(scores) - 0.5, -0.5))
    if axis.get_xlim()[0] < 50:
        axis.axvline(50, color="#bbbbbb", lw=0.6, ls=":")
    axis.grid(axis="y", visible=False)
    look: Any = {"marker": "|", "ls": "", "ms": 7, "mew": 1.8}
    handles = [Line2D([], [], color=results.line(m)["color"], **look) for m in methods]
    legend_below(figure, *entries(_highlighted(results), handles, names))
    return figure


def examples(results: BenchmarkResults) -> Figure:
    """Draw the same training images, and images of the auxiliary set, as each method augments them."""
    path = results.examples
    if path is None or not path.is_file():
        raise ReproodError(f"{path or 'The file of examples'} does not exist; run the rule `examples` first.")
    with np.load(path, allow_pickle=False) as archive:
        shown = {name: archive[name] for name in archive.files}
    unchanged = {"original": "original", "outliers": "auxiliary images"}
    of_outliers = [f"outliers.{method}" for method in results.methods]
    rows = [name for name in ("original", *results.methods, "outliers", *of_outliers) if name in shown]
    same: dict[str, list[str]] = {}  # methods with equal pictures share a row
    for name in rows:
        first = next((other for other in same if np.array_equal(shown[other], shown[name])), name)
        same.setdefault(first, []).append(name)
    rows = list(same)
    count = len(shown["original"])
    figure = new_figure(7.2, 0.62 * len(rows) + 0.1)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for row, name in enumerate(rows):
        for column in range(count):
            image = shown[name][column]
            axis = axes[row, column]
            picture(axis, image)
            for spine in axis.spines.values():  # a black or white image must be seen to be one
                spine.set(visible=True, color="#888888", linewidth=0.5)
        names = [unchanged.get(one) or results.label(one.removeprefix("outliers.")) for one in same[name]]
        label = textwrap.fill(", ".join(names), TITLE)
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7 if len(names) < 4 else 5.5)
    return figure


def make_figure(
    kind: str,
    results: BenchmarkResults,
    svg: Path,
    png: Path | None,
    data: Path = Path("data"),
    width: float | None = None,
) -> None:
    """Draw one figure of a benchmark and write it as SVG and PNG; the same results give the same bytes.

    The detection figures of a benchmark without OOD sets say that there are none.

    Parameters
    ----------
    kind : str
        Name of a type in `reprood.report.contents.FIGURES`.
    results : BenchmarkResults
        Results of the benchmark.
    svg, png : Path
        The files to write; no PNG without a name.
    data : Path
        Folder of the data, for figures that show test images.
    width : float, optional
        Width in inches, for the column of a paper (see `reprood.report.width`); default: as the pages show it.

    Raises
    ------
    ReproodError
        If there is no such type; the message lists the known ones.
    """
    types = {one.name: one for one in FIGURES}
    if kind not in types:
        raise ReproodError(f"There is no figure '{kind}'; known: {', '.join(types)}.")
    chosen = types[kind]
    if chosen.needs_ood_sets and not results.detects:
        save(notice("This benchmark has no OOD sets."), svg, png)
        return
    draw = resolve(chosen.draw)
    figure = draw(results, data) if chosen.images == "test" else draw(results)
    if width is not None:
        fit_width(figure, width)
    save(figure, svg, png)
