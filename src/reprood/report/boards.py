"""The leaderboard of a benchmark: what methods are ranked by, in which order, and who cannot be told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprood.evaluate.bootstrap import Interval
from reprood.evaluate.resample import Replicates
from reprood.report import words
from reprood.report.groups import LEAST_SEEDS, Grouping, grouped
from reprood.report.results import REPLICATES, BenchmarkResults, interval_of

HIGHER = ("auroc", "pixel_auroc")


@dataclass(frozen=True)
class Board:
    """Methods ranked by one metric.

    Attributes
    ----------
    metric, split : str
    methods : tuple of str
        The best first.
    scores : tuple of str
        The score of each method; "-" for metrics of none.
    intervals : tuple of Interval
        Of each method's mean over seeds, in the metric's unit.
    grouping : Grouping
        Rows are methods in this order.
    """

    metric: str
    split: str
    methods: tuple[str, ...]
    scores: tuple[str, ...]
    intervals: tuple[Interval, ...]
    grouping: Grouping

    @property
    def title(self) -> str:
        """What is ranked by, for readers: metric, and where it is measured."""
        where = "" if self.split == "test" else f", {words.split(self.split)}"
        return f"{words.METRICS[self.metric]}{where}"

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Methods with too few seeds."""
        return tuple(m for m, text in zip(self.methods, self.grouping.letters, strict=True) if not text)


def board(
    metric: str,
    split: str,
    methods: Sequence[str],
    scores: Sequence[str],
    replicates: Callable[[str, str], Replicates],
) -> Board:
    """Rank methods by their mean over seeds and group them; `replicates` is given a method and its score."""
    found = [replicates(method, score) for method, score in zip(methods, scores, strict=True)]
    sign = -1 if metric in HIGHER else 1
    order = sorted(range(len(methods)), key=lambda row: (sign * float(np.mean(found[row].observed[0])), row))
    return Board(
        metric,
        split,
        tuple(methods[row] for row in order),
        tuple(scores[row] for row in order),
        tuple(interval_of(found[row]) for row in order),
        grouped([found[row] for row in order]),
    )


def boards(results: BenchmarkResults) -> list[Board]:
    """The leaderboards of a benchmark, the one that its page is about first."""
    record, made = results.benchmark, []
    asked = record.evaluations
    every = list(results.methods)
    none = ["-"] * len(every)
    if results.detects and results.detecting:
        chosen = results.detecting
        own = [results.headline(method) for method in chosen]
        natural = results.natural
        made.append(
            board("auroc", natural, chosen, own, lambda m, s: results.detection_replicates(m, "auroc", natural, s))
        )
    if "segmentation" in asked and results.mapping():
        mapping = results.mapping()
        of_maps = board(
            "pixel_auroc", "test", mapping, none[: len(mapping)],
            lambda m, s: results.segmentation_replicates(m, "pixel_auroc"),
        )  # fmt: skip
        made.append(of_maps)
    if "localisation" in asked:
        made.append(
            board(
                "localisation_error", "test", every, none,
                lambda m, s: results.localisation_replicates(m, "localisation_error"),
            )
        )  # fmt: skip
    conditions = [*(["corrupted"] if record.corruption else []), *(f"attacked/{name}" for name in record.attacks)]
    for split in [*(["test"] if "classification" in asked else []), *conditions]:
        made.append(board("top1_error", split, every, none, lambda m, s, at=split: results.error_replicates(m, at)))  # type: ignore[misc]
    return made


def judged(found: Sequence[Board], label: Callable[[str], str]) -> str:
    """How the grouping was made, in words; what could not be grouped and why."""
    compared = sorted({one.grouping.pairs for one in found if one.grouping.pairs})
    without = list(dict.fromkeys(method for one in found for method in one.uncompared))
    lacking = f"fewer than {LEAST_SEEDS} seeds, too few to tell how trainings differ"
    if not compared:
        alone = all(len(one.methods) < 2 for one in found)
        return "Not grouped: there is no second method." if alone else f"Not grouped: the methods have {lacking}."
    pairs = " or ".join(map(str, compared))
    text = (
        "Methods that share a letter were not told apart at the 5 % level; those that share none were. Each pair: t "
        "test of the difference of means over seeds, its variance that between seeds plus that of "
        f"{REPLICATES} resamplings of the test images, the same for both; Holm's correction over all pairs of the "
        f"column ({pairs}). Sharing a letter is no evidence of being equal."
    )
    if without:
        text += f" Without a letter: {', '.join(map(label, without))} ({lacking})."
    return text
