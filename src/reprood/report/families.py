"""The leaderboard of a family: benchmarks of one kind, one class or one split of classes each."""

from collections.abc import Sequence

import numpy as np

from reprood.evaluate.resample import Replicates
from reprood.report import words
from reprood.report.forms import Cell, Table
from reprood.report.groups import Grouping, grouped
from reprood.report.results import BenchmarkResults


def family(title: str, members: Sequence[BenchmarkResults]) -> Table:
    """AUROC of every method's own score on each member of a family, and their mean; for the page.

    Methods that failed the accuracy gate of a member have no numbers. The others are grouped, paired by member and
    seed.
    """
    first = members[0]
    passed = [method for method in first.methods if all(one.detects and one.passed(method) for one in members)]
    found = {m: [one.detection_replicates(m, "auroc", "mean_all", one.headline(m)) for one in members] for m in passed}
    values = {m: [100 * float(one.observed[0].mean()) for one in found[m]] for m in passed}
    ranked = sorted(passed, key=lambda method: -float(np.mean(values[method])))
    grouping = _grouping([found[method] for method in ranked])
    rows = []
    for method, group in zip(ranked, grouping.letters, strict=True):
        mean = float(np.mean(values[method]))
        cells = [Cell(first.label(method)), Cell(words.score(first.headline(method)))]
        cells.append(Cell(words.number(mean), "", mean, group=group))
        rows.append((*cells, *(Cell(words.number(value), "", value) for value in values[method])))
    for method in (method for method in first.methods if method not in passed):
        rows.append((Cell(first.label(method)), Cell("accuracy gate failed"), *(Cell("–"),) * (1 + len(members))))
    names = [one.benchmark.member.replace("_", " ") for one in members]
    caption = f"{title}: AUROC, %, of each method's own score; mean over seeds, by member."
    if grouping.pairs:
        caption += (
            " Methods that share a letter were not told apart at the 5 % level: t test of the mean difference, paired "
            f"by member and seed, with the test images resampled; Holm's correction over all pairs ({grouping.pairs})."
        )
    return Table("family", caption, ("method", "score", "mean of all members", *names), tuple(rows))


def _grouping(found: Sequence[Sequence[Replicates]]) -> Grouping:
    """Of methods whose pairs of member and seed lie side by side; with other numbers of seeds there are no partners."""
    if len({tuple(len(one.observed[0]) for one in each) for each in found}) != 1:
        return Grouping((), ("",) * len(found), 0)
    joined = [
        Replicates(
            [np.concatenate([one.observed[0] for one in each])],
            [np.concatenate([one.resampled[0] for one in each], axis=1)],
            sum(one.n_id for one in each),
            sum(one.n_ood for one in each),
        )
        for each in found
    ]
    return grouped(joined, ["member and seed"] * len(joined))
