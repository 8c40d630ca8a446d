"""The leaderboard as a table and as a figure similar to critical-difference diagrams."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reprood.report import labels
from reprood.report.formats import Cell, Table, measured
from reprood.report.groups import names_of
from reprood.report.ranking import Board, boards, judged
from reprood.report.results import BenchmarkResults
from reprood.report.style import new_figure, notice

NOTHING = "No method passed the accuracy gate, and nothing else was measured."
ROW = 0.165  # inches


def leaderboard(results: BenchmarkResults) -> Table:
    """Make the table of all rankings: mean, interval and group letters of every method."""
    found = boards(results)
    scored = {m: s for one in found for m, s in zip(one.methods, one.scores, strict=True) if s != "-"}
    ranked = list(dict.fromkeys(method for one in found for method in one.methods))
    rows = []
    for method in ranked:
        cells = [Cell(results.label(method))]
        if scored:
            cells.append(Cell(labels.score(scored[method]) if method in scored else "–"))
        rows.append((*cells, *(_cell(one, method) for one in found)))
    head = ("method", *(("score",) if scored else ()), *(one.title for one in found))
    if not found:
        return Table("leaderboard", NOTHING, head, ())
    caption = f"Methods ordered by {found[0].title}: means over replicates with 95 % intervals over "
    caption += f"{results.benchmark.covers}. "
    if scored:
        caption += "AUROC uses each method's own score, or MSP if it has none. "
    return Table("leaderboard", caption + judged(found, results.label, results.paired), head, tuple(rows))


def _cell(one: Board, method: str) -> Cell:
    if method not in one.methods:
        return Cell("–")
    row = one.methods.index(method)
    return measured(one.metric, one.intervals[row], one.grouping.letters[row])


def draw_leaderboard(results: BenchmarkResults) -> Figure:
    """Draw one panel per ranking: means with intervals, and a bar for each group of methods.

    A bar has a dot at each method of its group; methods without a dot are not in the group.
    """
    found = boards(results)
    if not found:
        return notice(NOTHING)
    heights = [ROW * len(one.methods) + 0.5 for one in found]
    figure = new_figure(7.2, sum(heights))
    parts = figure.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, one in zip(parts, found, strict=True):
        _panel(part, one, results)
    return figure


def _panel(part: Figure, one: Board, results: BenchmarkResults) -> None:
    groups = one.grouping.groups
    wide = max(len(groups), 1)
    left, right = part.subplots(1, 2, sharey=True, width_ratios=[28, 1 + wide])
    for row, (method, found) in enumerate(zip(one.methods, one.intervals, strict=True)):
        value, low, high = (labels.percent(one.metric, v) for v in (found.estimate, found.low, found.high))
        left.plot([max(low, 0.0), min(high, 100.0)], [row, row], color=results.colour(method), lw=1.1)
        left.plot([value], [row], "o", ms=3.6, mew=0, color=results.colour(method))
    names = [
        results.label(method) + (f" ({labels.score(score)})" if score != "-" else "")
        for method, score in zip(one.methods, one.scores, strict=True)
    ]
    left.set_yticks(range(len(names)), names, fontsize=7)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_title(one.title, loc="left")
    left.grid(axis="y", visible=False)
    right.set_xlim(-1, wide)
    right.set_axis_off()
    right.xaxis.set_major_locator(NullLocator())
    for column, (letter, rows) in enumerate(zip(names_of(len(groups)), groups, strict=True)):
        right.plot([column] * len(rows), rows, "-o", color="#444444", lw=1.4, ms=3.2, mew=0)
        right.annotate(letter, (column, rows[0]), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=7)
