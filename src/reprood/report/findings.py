"""What the figures of a benchmark show, in a sentence from its numbers: for readers who do not see them."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from reprood.report import labels
from reprood.report.formats import Table
from reprood.report.hardest import leading
from reprood.report.ranking import Board, boards
from reprood.report.results import BenchmarkResults
from reprood.report.studies.numbers import listed


def ends(values: Mapping[str, float], digits: int = 1) -> str:
    """State the highest and the lowest of some percentages by name.

    Examples
    --------
    >>> ends({"a": 91.26, "b": 80.0})
    'highest a 91.3 %, lowest b 80.0 %'
    """
    if not values:
        return "nothing was measured"
    high, low = max(values, key=lambda name: values[name]), min(values, key=lambda name: values[name])
    if high == low:
        return f"{high} {labels.number(values[high], digits)} %"
    return (
        f"highest {high} {labels.number(values[high], digits)} %, lowest {low} {labels.number(values[low], digits)} %"
    )


def _first(one: Board, results: BenchmarkResults) -> str:
    value = labels.number(labels.percent(one.metric, one.intervals[0].estimate))
    score = "" if one.scores[0] == "-" else f" with {labels.score(one.scores[0])}"
    return f"{results.label(one.methods[0])}{score}, {one.spoken} {value} %"


def _leaderboard(results: BenchmarkResults) -> str:
    found = [one for one in boards(results) if one.methods]
    return "Best: " + "; ".join(_first(one, results) for one in found) if found else "Nothing was measured"


def _auroc(results: BenchmarkResults) -> str:
    values = {
        f"{results.label(method)} with {labels.score(score)}": 100 * float(np.mean(found))
        for method in results.detecting
        for score in results.scores(method)
        if len(found := results.values(method, "auroc", results.natural, score))
    }
    return f"AUROC, {results.where(results.natural)}: {ends(values)}"


def _roc(results: BenchmarkResults) -> str:
    parts = []
    for name in results.benchmark.ood:
        values = {
            results.label(method): 100 * float(np.mean(found))
            for method in results.detecting
            if len(found := results.values(method, "auroc", name, results.headline(method)))
        }
        parts.append(f"{labels.split(name)}: {ends(values)}")
    return "Area under the curve on " + "; on ".join(parts)


def _curves(results: BenchmarkResults) -> str:
    last = {method: results.recorded_error(method, "validation_error")[0] for method in results.methods}
    values = {results.label(method): value for method, value in last.items() if not np.isnan(value)}
    if values:
        return f"Validation error at the last epoch: {ends(values)}"
    losses = {method: results.recorded_error(method, "train_loss")[0] for method in results.methods}
    shown = [f"{results.label(m)} {labels.number(value, 2)}" for m, value in losses.items() if not np.isnan(value)]
    return f"Training loss at the last epoch: {listed(shown)}" if shown else "Nothing was trained"


def _robustness(results: BenchmarkResults) -> str:
    found = [one for one in boards(results) if one.split not in ("test", results.natural)]
    if not found:
        return "Error under occlusion of " + listed([results.label(method) for method in results.methods])
    return "Lowest error: " + "; ".join(_first(one, results) for one in found)


def _hardest(results: BenchmarkResults) -> str:
    method = leading(results)
    name = "no method" if method is None else results.label(method)
    return f"Images that {name} gets most wrong; the table below lists them"


def _rows(what: str) -> Callable[[BenchmarkResults], str]:
    return lambda results: what + listed([results.label(method) for method in results.methods])


FINDINGS: dict[str, Callable[[BenchmarkResults], str]] = {
    "leaderboard": _leaderboard,
    "auroc": _auroc,
    "roc": _roc,
    "histograms": lambda results: _auroc(results).replace("AUROC", "How far ID and OOD scores are apart, as AUROC"),
    "curves": _curves,
    "robustness": _robustness,
    "hardest": _hardest,
    "examples": _rows("Training images as they are, and as augmented by "),
    "maps": _rows("Anomaly maps on test images, one row for each of "),
    "boxes": _rows("True and found boxes on test images, one row for each of "),
}


def finding(kind: str, results: BenchmarkResults) -> str:
    """Return what a figure shows: the best method and its value where there is one; no full stop at the end."""
    if kind in ("auroc", "roc", "histograms") and not (results.detects and results.detecting):
        return "No detection results"
    return FINDINGS[kind](results) if kind in FINDINGS else listed([results.label(m) for m in results.methods])


def result_of(results: BenchmarkResults, leaderboard: Table) -> str:
    """Return the result of a benchmark in sentences: the best methods, and which detectors are below chance."""
    found = [one for one in boards(results) if one.methods]
    if not found:
        return leaderboard.caption
    first = found[0]
    text = f"Best: {_first(first, results)}"
    tied = [results.label(m) for row, m in enumerate(first.methods) if row and _shares(first, row)]
    if first.undivided:
        text += "; no two methods differ significantly"
        if not math.isnan(first.grouping.detectable):
            limit = labels.number(abs(labels.percent(first.metric, first.grouping.detectable)))
            text += f" (detectable difference of two methods: median {limit} points)"
    elif tied:
        text += f"; not significantly different from it: {listed(tied)}"
    text += "."
    if first.metric == "auroc":
        below = [
            results.label(method)
            for method, interval in zip(first.methods, first.intervals, strict=True)
            if interval.estimate < 0.5
        ]
        text += f" No better than chance (50 %): {listed(below)}." if below else ""
        best = {method: results.best_detector(method) for method in first.methods}
        values = {
            (method, detector): 100 * float(results.values(method, "auroc", results.natural, detector).mean())
            for method, detector in best.items()
            if detector
        }
        if values:
            (method, detector), value = max(values.items(), key=lambda item: item[1])
            if value > 100 * first.intervals[0].estimate + 0.05:
                text += (
                    f" Chosen in hindsight, {results.label(method)} with {labels.score(detector)} reaches "
                    f"{labels.number(value)} %."
                )
    return text


def _shares(one: Board, row: int) -> bool:
    """Return whether a row shares a group with the first one."""
    return any(0 in group and row in group for group in one.grouping.groups)
