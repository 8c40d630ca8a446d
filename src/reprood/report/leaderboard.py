"""The leaderboard as a table and as a figure similar to critical-difference diagrams."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reprood.evaluate.directions import lower_is_better
from reprood.report import labels
from reprood.report.formats import Cell, Table, measured, plain
from reprood.report.groups import names_of
from reprood.report.provenance import outliers_of
from reprood.report.ranking import Board, boards, judged
from reprood.report.results import BenchmarkResults
from reprood.report.style import new_figure, notice

NOTHING = "No method passed the accuracy gate, and nothing else was measured."
ROW = 0.165  # inches


KINDS = ("near", "far", "noise")
IN_HINDSIGHT = "AUROC, %, best post-hoc detector"


def leaderboard(results: BenchmarkResults) -> Table:
    """Make the table of all rankings: mean, interval and group letters of every method.

    A benchmark with detection also has the mean AUROC of near, far and noise sets, which outlier data a method learns
    from, and the best post-hoc detector on its network, which another method's own score cannot hide.
    """
    found = boards(results)
    scored = {m: s for one in found for m, s in zip(one.methods, one.scores, strict=True) if s != "-"}
    ranked = list(dict.fromkeys(method for one in found for method in one.methods))
    if not found:
        return Table("leaderboard", NOTHING, ("method",), ())
    kinds = _kinds(results) if scored else ()
    post_hoc = {method: results.best_detector(method) for method in scored}
    several = any(post_hoc.values())
    trained = {method: outliers_of(results, method) for method in ranked}
    learns = any(text != "–" for text in trained.values())
    rows = []
    for method in ranked:
        cells = [Cell(results.label(method))]
        if scored:
            cells.append(Cell(labels.score(scored[method]) if method in scored else "–"))
        if learns:
            cells.append(Cell(trained[method]))
        cells.append(_cell(found[0], method))
        if scored:
            cells += [_mean(results, method, kind, scored.get(method, "")) for kind in kinds]
        if several:
            cells += _best(results, method, post_hoc.get(method, ""))
        rows.append((*cells, *(_cell(one, method) for one in found[1:])))
    head = (
        "method",
        *(("score",) if scored else ()),
        *(("outlier data",) if learns else ()),
        found[0].title,
        *(f"{labels.METRICS['auroc']}, {kind}" for kind in kinds),
        *((IN_HINDSIGHT, "this detector") if several else ()),
        *(one.title for one in found[1:]),
    )
    caption = f"Methods ordered by {found[0].title}: means over replicates with 95 % intervals over "
    caption += f"{results.benchmark.covers}. "
    if scored:
        caption += "AUROC uses each method's own score, or MSP if it has none. "
    if several:
        caption += (
            "Best post-hoc detector: the highest AUROC on the same network, chosen on these test sets, so that it is "
            "an optimistic value. "
        )
    return Table("leaderboard", caption + judged(found, results.label, results.paired), head, tuple(rows))


def _kinds(results: BenchmarkResults) -> tuple[str, ...]:
    """Return the kinds of OOD sets to show; none if all sets are of one kind, which the main mean shows."""
    present = {outlier.shift for outlier in results.benchmark.ood.values()} & set(KINDS)
    return tuple(kind for kind in KINDS if kind in present) if len(present) > 1 else ()


def _mean(results: BenchmarkResults, method: str, kind: str, score: str) -> Cell:
    """Return the mean AUROC of a method over the OOD sets of a kind."""
    return plain("auroc", results.values(method, "auroc", f"mean_{kind}", score).tolist())


def _best(results: BenchmarkResults, method: str, detector: str) -> list[Cell]:
    """Return the AUROC of a method with a detector, and the detector's name."""
    if not detector:
        return [Cell("–"), Cell("–")]
    found = results.detection_interval(method, "auroc", results.natural, detector)
    return [measured("auroc", found), Cell(labels.score(detector))]


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
    groups = () if one.undivided else one.grouping.groups
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
    better = "lower" if lower_is_better(one.metric) else "higher"
    left.set_title(f"{one.title} ({better} is better)", loc="left")
    left.grid(axis="y", visible=False)
    right.set_xlim(-1, wide)
    right.set_axis_off()
    right.xaxis.set_major_locator(NullLocator())
    for column, (letter, rows) in enumerate(zip(names_of(len(groups)), groups, strict=True)):
        right.plot([column] * len(rows), rows, "-o", color="#444444", lw=1.4, ms=3.2, mew=0)
        right.annotate(letter, (column, rows[0]), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=7)
