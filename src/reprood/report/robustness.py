"""Figure and table of the error on corrupted, attacked, occluded and mixed test images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reprood.config.conditions import summaries
from reprood.report import labels
from reprood.report.formats import Cell, Table
from reprood.report.results import BenchmarkResults
from reprood.report.style import entries, legend_below, legend_height, new_figure


def _columns(results: BenchmarkResults) -> list[str]:
    """Return the conditions of the table: means over kinds of corruption, occlusion and mixture, and every attack."""
    record = results.benchmark
    names = [name for name in summaries(record) if name.count("/") == 0 and name == "corrupted"]
    names += [f"attacked/{attack}" for attack in record.attacks]
    return names + [name for name in summaries(record) if name.startswith(("occluded/", "between/"))]


ROBUST = "test_robust_error"  # in the history of an adversarial training


def _recorded(results: BenchmarkResults, method: str) -> list[Cell]:
    """Return the robust test error recorded in the last epoch and in the best one."""
    values = results.recorded_error(method, ROBUST)
    return [
        Cell("–") if np.isnan(value) else Cell(labels.number(value), "", value, metric="top1_error") for value in values
    ]


def robustness_table(results: BenchmarkResults) -> Table:
    """Make the table of the error on the unchanged test set and under every condition, with intervals; mCE.

    For adversarial trainings it also has the robust error recorded during training, of the last and the best epoch.
    """
    columns = _columns(results)
    relative = any(len(results.values(method, "mce", "corrupted")) for method in results.methods)
    recorded = any(ROBUST in history for method in results.methods for history in results.history(method))
    rows = []
    for method in results.methods:
        cells = [Cell(results.label(method))]
        for split in ("test", *columns):
            found = results.error_interval(method, split)
            text = labels.interval(max(found.low, 0.0), min(found.high, 100.0))
            cells.append(Cell(labels.number(found.estimate), text, found.estimate, metric="top1_error"))
        if relative:
            values = results.values(method, "mce", "corrupted")
            mean = float(values.mean()) if len(values) else float("nan")
            cells.append(Cell(labels.number(mean), "", mean, metric="mce") if len(values) else Cell("–"))
        if recorded:
            cells += _recorded(results, method)
        rows.append(tuple(cells))
    head = ("method", "error, %, unchanged test set", *(f"error, %, {labels.split(name)}" for name in columns))
    baseline = results.benchmark.corruption.baseline if results.benchmark.corruption else ""
    caption = (
        "Top-1 error on changed copies of the test set, mean over replicates, 95 % intervals over "
        f"{results.benchmark.covers}. "
        "Conditions may use fewer test images than the unchanged test set. "
    )
    if relative:
        head = (*head, "mCE, %")
        caption += (
            f"mCE: error relative to that of {results.label(baseline)}, summed over severities, mean over corruptions. "
        )
    if recorded:
        head = (*head, "robust error while training, %, last epoch", "robust error while training, %, best epoch")
        caption += (
            "Robust error while training: on test images, or the first of them, under the attack of the training; the "
            "best recorded epoch, which some papers report, is shown for comparison and never used."
        )
    return Table("robustness", caption.strip(), head, tuple(rows))


def draw_robustness(results: BenchmarkResults) -> Figure:
    """Draw the error by corruption, by attack, by size of the occluded square, and by share of a second image."""
    record = results.benchmark
    panels = [
        *([_corruptions] if record.corruption else []),
        *([_attacks] if record.attacks else []),
        *([_holes] if record.occlusion else []),
        *([_pairs] if record.between else []),
    ]
    names = [results.label(method) for method in results.methods]
    heights = {_corruptions: 2.9, _attacks: 2.2, _holes: 2.6, _pairs: 2.6}
    figure = new_figure(7.2, sum(heights[panel] for panel in panels) + legend_height(names, 7.2))
    parts = figure.subfigures(len(panels), 1, height_ratios=[heights[p] for p in panels], squeeze=False)[:, 0]
    axes = [panel(part, results) for panel, part in zip(panels, parts, strict=True)]
    shown = [results.label(method) for method in results.highlighted]
    legend_below(figure, *entries(shown, *axes[0].get_legend_handles_labels()))
    return figure


def _mean(results: BenchmarkResults, method: str, split: str) -> float:
    return float(results.values(method, "top1_error", split).mean())


def _dots(axis: Axes, results: BenchmarkResults, names: list[str]) -> None:
    """Draw one group per name, with dots for the seeds and a bar at the mean of each method."""
    for place, name in enumerate(names):
        if place % 2:
            axis.axvspan(place - 0.5, place + 0.5, color="#f4f5f7", lw=0)
        for j, method in enumerate(results.methods):
            values = results.values(method, "top1_error", name)
            x = place + (j - (len(results.methods) - 1) / 2) * 0.8 / len(results.methods)
            colour = results.line(method)["color"]
            axis.plot([x] * len(values), values, ".", ms=4, mew=0, color=colour, alpha=0.6)
            label = results.label(method) if place == 0 else None
            axis.plot([x], [values.mean()], "_", ms=7, mew=1.8, color=colour, label=label)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.grid(axis="x", visible=False)


def _corruptions(part: Figure, results: BenchmarkResults) -> Axes:
    axis = part.subplots()
    corruption = results.benchmark.corruption
    assert corruption is not None
    _dots(axis, results, [f"corrupted/{name}" for name in corruption.names])
    ticks = [name.replace("_", "\n") for name in corruption.names]
    axis.set_xticks(range(len(corruption.names)), ticks, fontsize=6)
    axis.set(title="error, %, by corruption; mean over severities")
    return axis


def _attacks(part: Figure, results: BenchmarkResults) -> Axes:
    axis = part.subplots()
    _dots(axis, results, [f"attacked/{name}" for name in results.benchmark.attacks])
    names = [labels.attack(attack) for attack in results.benchmark.attacks]
    axis.set_xticks(range(len(names)), names)
    axis.set(title="error, %, under attack")
    return axis


def _holes(part: Figure, results: BenchmarkResults) -> Axes:
    holes = results.benchmark.occlusion
    assert holes is not None
    axes = np.atleast_1d(part.subplots(1, len(holes.where), sharey=True))
    for axis, where in zip(axes, holes.where, strict=True):
        for method in results.methods:
            errors = [_mean(results, method, f"occluded/{where}/{side}") for side in holes.sides]
            axis.plot(holes.sides, errors, marker=".", label=results.label(method), **results.line(method))
        part_shown = "central square hidden" if where == "center" else "only the central square visible"
        axis.set(title=f"{part_shown}: error, %", xlabel="side of the square, pixels")
        axis.set_xticks(holes.sides)
    first: Axes = axes[0]
    return first


def _pairs(part: Figure, results: BenchmarkResults) -> Axes:
    pairs = results.benchmark.between
    assert pairs is not None
    axes = np.atleast_1d(part.subplots(1, len(pairs.kinds), sharey=True))
    shares = sorted(pairs.shares)
    for axis, kind in zip(axes, pairs.kinds, strict=True):
        for method in results.methods:
            errors = [_mean(results, method, f"between/{kind}/{share}") for share in shares]
            axis.plot(shares, errors, marker=".", label=results.label(method), **results.line(method))
        way = "weighted mean of two images" if kind == "mixup" else "square of a second image"
        axis.set(title=f"{way}: neither class, %", xlabel="share of the second image, %")
        axis.set_xticks(shares)
    first: Axes = axes[0]
    return first
