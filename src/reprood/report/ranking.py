"""The leaderboards of a benchmark: metrics, order of the methods, and groups that do not differ significantly."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprood.evaluate.bootstrap import Interval
from reprood.evaluate.directions import lower_is_better
from reprood.evaluate.resample import Replicates
from reprood.report import labels
from reprood.report.groups import LEAST_SEEDS, Grouping, grouped
from reprood.report.results import REPLICATES, BenchmarkResults, interval_of


@dataclass(frozen=True)
class Board:
    """Methods ranked by one metric.

    Attributes
    ----------
    metric, split : str
    where : str
        The split for readers.
    methods : tuple of str
        Best first.
    scores : tuple of str
        The score of each method; "-" for metrics without a score.
    intervals : tuple of Interval
        Interval of each method's mean over replicates, in the metric's unit.
    grouping : Grouping
        Groups of methods; rows are methods in this order.
    """

    metric: str
    split: str
    where: str
    methods: tuple[str, ...]
    scores: tuple[str, ...]
    intervals: tuple[Interval, ...]
    grouping: Grouping

    @property
    def title(self) -> str:
        """Metric and split, for readers."""
        where = "" if self.split == "test" else f", {self.where}"
        return f"{labels.METRICS[self.metric]}{where}"

    @property
    def spoken(self) -> str:
        """Metric and split in a sentence, without unit: 'AUROC (mean without noise)'."""
        head, _, rest = self.title.partition(", %")
        return f"{head} ({rest.removeprefix(', ')})" if rest else head

    @property
    def undivided(self) -> bool:
        """Whether all methods were compared and no two of them differ significantly."""
        return len(self.methods) > 1 and self.grouping.groups == (tuple(range(len(self.methods))),)

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Methods with too few replicates."""
        return tuple(m for m, text in zip(self.methods, self.grouping.letters, strict=True) if not text)


def board(
    metric: str,
    split: str,
    methods: Sequence[str],
    scores: Sequence[str],
    replicates: Callable[[str, str], Replicates],
    seeds: Callable[[str], list[int]] | None = None,
    where: str = "",
) -> Board:
    """Rank methods by their mean over replicates and group them.

    Parameters
    ----------
    metric, split : str
    methods, scores : sequence of str
        The methods, and the score of each.
    replicates : callable
        Called with a method and its score.
    seeds : callable, optional
        Seeds of a method, by which methods are paired; default: not paired.
    where : str
        The split for readers; default: its label.
    """
    found = [replicates(method, score) for method, score in zip(methods, scores, strict=True)]
    sign = 1 if lower_is_better(metric) else -1
    order = sorted(range(len(methods)), key=lambda row: (sign * float(np.mean(found[row].observed[0])), row))
    return Board(
        metric,
        split,
        where or labels.split(split),
        tuple(methods[row] for row in order),
        tuple(scores[row] for row in order),
        tuple(interval_of(found[row]) for row in order),
        grouped([found[row] for row in order], None if seeds is None else [seeds(methods[row]) for row in order]),
    )


def boards(results: BenchmarkResults) -> list[Board]:
    """Return the leaderboards of a benchmark, the main one first."""
    record, rankings = results.benchmark, []
    evaluations = record.evaluations
    every = list(results.methods)
    none = ["-"] * len(every)
    seeds = results.seeds if results.paired else None
    if results.detects and results.detecting:
        chosen = results.detecting
        own = [results.headline(method) for method in chosen]
        natural = results.natural
        rankings.append(
            board(
                "auroc", natural, chosen, own, lambda m, s: results.detection_replicates(m, "auroc", natural, s), seeds,
                results.where(natural),
            )
        )  # fmt: skip
    if "segmentation" in evaluations and results.mapping():
        mapping = results.mapping()
        of_maps = board(
            "pixel_auroc", "test", mapping, none[: len(mapping)],
            lambda m, s: results.segmentation_replicates(m, "pixel_auroc"), seeds,
        )  # fmt: skip
        rankings.append(of_maps)
    if "localisation" in evaluations:
        rankings.append(
            board(
                "localisation_error", "test", every, none,
                lambda m, s: results.localisation_replicates(m, "localisation_error"), seeds,
            )
        )  # fmt: skip
    conditions = [*(["corrupted"] if record.corruption else []), *(f"attacked/{name}" for name in record.attacks)]
    for split in [*(["test"] if "classification" in evaluations else []), *conditions]:
        rankings.append(
            board("top1_error", split, every, none, lambda m, s, at=split: results.error_replicates(m, at), seeds)  # type: ignore[misc]
        )
    return rankings


def judged(found: Sequence[Board], label: Callable[[str], str], paired: bool = False) -> str:
    """Describe how the methods were grouped (`paired` by replicate), and which could not be grouped and why."""
    compared = sorted({one.grouping.pairs for one in found if one.grouping.pairs})
    without = list(dict.fromkeys(method for one in found for method in one.uncompared))
    too_few = f"fewer than {LEAST_SEEDS} replicates"
    if not compared:
        alone = all(len(one.methods) < 2 for one in found)
        return "Not grouped: only one method." if alone else f"Not grouped: the methods have {too_few}."
    pairs = " or ".join(map(str, compared))
    text = (
        f"Methods that share a letter do not differ significantly (5 %, {'paired ' if paired else ''}t tests over "
        f"replicates and {REPLICATES} resamplings of the test images, Holm-corrected for {pairs} pairs). That does "
        "not mean they are equal. The letters ignore interim looks and the other claims of a paper; a verdict is "
        f"stricter. {power(found)}"
    )
    if without:
        text += f" Without a letter: {', '.join(map(label, without))} ({too_few})."
    return text


def power(found: Sequence[Board]) -> str:
    """Say which difference these replicates can detect, by board: medians over the pairs of methods."""
    parts = [
        f"{labels.number(abs(labels.percent(one.metric, one.grouping.detectable)))} points of {one.spoken}"
        for one in found
        if not math.isnan(one.grouping.detectable)
    ]
    if not parts:
        return ""
    return f"Detectable difference of two methods (80 % power, before the correction): {', '.join(parts)}."
