"""The table of a family: benchmarks with one class or one split of classes each."""

from collections.abc import Sequence

import numpy as np

from reprood.evaluate.resample import Replicates
from reprood.report import labels
from reprood.report.formats import Cell, Table
from reprood.report.groups import Grouping, grouped
from reprood.report.results import BenchmarkResults


def family(title: str, members: Sequence[BenchmarkResults]) -> Table:
    """Make the table of AUROC of every method's own score on each member of a family, and their mean.

    Methods that failed the accuracy gate on a member have no numbers. The others are grouped, paired by member and
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
        cells = [Cell(first.label(method)), Cell(labels.score(first.headline(method)))]
        cells.append(Cell(labels.number(mean), "", mean, group=group))
        rows.append((*cells, *(Cell(labels.number(value), "", value) for value in values[method])))
    for method in (method for method in first.methods if method not in passed):
        rows.append((Cell(first.label(method)), Cell("accuracy gate failed"), *(Cell("–"),) * (1 + len(members))))
    names = [one.benchmark.member.replace("_", " ") for one in members]
    caption = f"{title}: AUROC, %, of each method's own score; mean over seeds, by member."
    if grouping.pairs:
        caption += (
            " Methods that share a letter do not differ significantly (5 %, t tests paired by member and seed, test "
            f"images resampled, Holm-corrected for {grouping.pairs} pairs)."
        )
    return Table("family", caption, ("method", "score", "mean of all members", *names), tuple(rows))


def _grouping(found: Sequence[Sequence[Replicates]]) -> Grouping:
    """Group methods paired by member and seed; without groups if their numbers of seeds differ."""
    if len({tuple(len(one.observed[0]) for one in each) for each in found}) != 1:
        return Grouping((), ("",) * len(found), 0)
    return grouped([joined(each) for each in found], ["member and seed"] * len(found))


def joined(members: Sequence[Replicates]) -> Replicates:
    """Return the replicates of one method on all members of a family: every pair of member and seed is one."""
    return Replicates(
        [np.concatenate([one.observed[0] for one in members])],
        [np.concatenate([one.resampled[0] for one in members], axis=1)],
        sum(one.n_id for one in members),
        sum(one.n_ood for one in members),
    )
