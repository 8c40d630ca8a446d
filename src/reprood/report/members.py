"""The table of a family by member: one class, one split of classes or one other unit each."""

import numpy as np

from reprood.report import labels
from reprood.report.formats import Cell, Table
from reprood.report.ranking import boards
from reprood.report.results import BenchmarkResults

NOTHING = "No method passed the accuracy gate, and nothing else was measured."


def members_table(results: BenchmarkResults) -> Table:
    """Make the table of the leaderboard's first metric on each member of a family: mean over its replicates.

    Methods are in the order of the leaderboard. A dash: the method has no replicate on the member.
    """
    found = boards(results)
    if not found:
        return Table("members", NOTHING, ("member", "replicates"), ())
    first = found[0]
    values = {
        method: dict(zip(results.seeds(method), results.values(method, first.metric, first.split, score), strict=True))
        for method, score in zip(first.methods, first.scores, strict=True)
    }
    rows = []
    for member in results.members:
        seeds = [seed for seed, place in results.places.items() if place == member]
        record = results.suite.benchmarks[member]
        classes = ", ".join(map(str, record.train.classes or ())) or "–"
        cells = [Cell(record.member.replace("_", " ")), Cell(classes), Cell(str(len(seeds)), "", float(len(seeds)))]
        for of_method in values.values():
            here = [of_method[seed] for seed in seeds if seed in of_method]
            mean = labels.percent(first.metric, float(np.mean(here))) if here else None
            cells.append(Cell("–") if mean is None else Cell(labels.number(mean), "", mean, metric=first.metric))
        rows.append(tuple(cells))
    shown = [
        results.label(method) + ("" if score == "-" else f" ({labels.score(score)})")
        for method, score in zip(first.methods, first.scores, strict=True)
    ]
    caption = f"{first.title}: mean over the replicates of each member. Classes are the known ones, by number."
    return Table("members", caption, ("member", "classes", "replicates", *shown), tuple(rows), by_row=True)
