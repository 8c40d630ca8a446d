"""The hardest test images of a benchmark: those that its leading method gets most wrong, in every seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from reprood.data.arrays import load_split
from reprood.evaluate.table import groups
from reprood.report import words
from reprood.report.forms import Cell, Table
from reprood.report.pictures import picture
from reprood.report.results import BenchmarkResults
from reprood.report.style import new_figure, notice

COUNT = 8  # of each kind
NOTHING = "Every run failed the accuracy gate: there are no hardest images."
REJECTED, ACCEPTED = "ID, rejected", "OOD, accepted"


@dataclass(frozen=True)
class Hard:
    """A test image that is scored wrongly.

    Attributes
    ----------
    kind : str
        REJECTED or ACCEPTED.
    split : str
        The set.
    row : int
        Place in the set's arrays.
    label : int
        Class number of an ID image, -1 of an OOD image.
    percentiles : tuple of float
        One a seed: percent of the ID test images that score lower (ties count one half).
    """

    kind: str
    split: str
    row: int
    label: int
    percentiles: tuple[float, ...]


def leading(results: BenchmarkResults) -> str | None:
    """The method with the highest AUROC by its own score, the first of the leaderboard; None when all failed."""

    def value(method: str) -> float:
        found = results.detection_replicates(method, "auroc", results.natural, results.headline(method))
        return float(found.observed[0].mean())

    return max(results.detecting, key=value, default=None)


def percentiles(in_distribution: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Percent of the ID scores [n] that are lower than each score [m]; ties count one half."""
    ordered = np.sort(in_distribution)
    below, upto = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray(50.0 * (below + upto) / len(ordered))


def hardest(results: BenchmarkResults, method: str) -> list[Hard]:
    """ID images that score lowest and OOD images (of the sets in the leading mean) that score highest, in every seed.

    An ID image counts by the highest of its percentiles over the seeds, an OOD image by the lowest; then by the mean.
    """
    column = f"score_{results.headline(method)}"
    found: list[Hard] = []
    candidates: dict[str, list[tuple[float, float, str, int, int, np.ndarray]]] = {REJECTED: [], ACCEPTED: []}
    runs = results.predictions(method)
    known = [run.split("test")[column].to_numpy() for run in runs]
    for split in ("test", *groups(results.benchmark)[results.natural]):
        kind, sign = (REJECTED, 1.0) if split == "test" else (ACCEPTED, -1.0)
        rows = [run.split(split) for run in runs]
        table = np.stack([percentiles(a, b[column].to_numpy()) for a, b in zip(known, rows, strict=True)])
        worst = (sign * table).max(axis=0)
        mean = sign * table.mean(axis=0)
        for place in np.lexsort((mean, worst))[:COUNT]:
            one = rows[0].iloc[int(place)]
            candidates[kind].append(
                (float(worst[place]), float(mean[place]), split, int(one["row"]), int(one["label"]), table[:, place])
            )
    for kind, chosen in candidates.items():
        for _, _, split, row, label, values in sorted(chosen, key=lambda one: one[:4])[:COUNT]:
            found.append(Hard(kind, split, row, label, tuple(float(value) for value in values)))
    return found


def hardest_table(results: BenchmarkResults) -> Table:
    """The hardest images: set, place in its arrays, and the percentile of the score."""
    head = ("images", "set", "place in the set", "class", "percentile of the score, %", "lowest seed", "highest seed")
    method = leading(results)
    if method is None:
        return Table("hardest", NOTHING, head, ())
    rows = tuple(
        (
            Cell(one.kind),
            Cell(words.split(one.split)),
            Cell(str(one.row), "", float(one.row)),
            Cell(str(one.label), "", float(one.label)) if one.label >= 0 else Cell("–"),
            *(
                Cell(words.number(value, 2), "", value)
                for value in (float(np.mean(one.percentiles)), min(one.percentiles), max(one.percentiles))
            ),
        )
        for one in hardest(results, method)
    )
    caption = (
        f"ID images that {results.label(method)} ({words.score(results.headline(method))}), first of the leaderboard, "
        "rejects most confidently in every seed, and OOD images that it accepts so. Percentile: percent of the ID test "
        "images that score lower, mean over seeds. An ID image is as hard as its highest percentile over the seeds, an "
        f"OOD image as its lowest. OOD sets: {words.split(results.natural)}."
    )
    return Table("hardest", caption, head, rows)


def hardest_images(results: BenchmarkResults, data: Path) -> Figure:
    """The hardest ID images above, the hardest OOD images below."""
    method = leading(results)
    if method is None:
        return notice(NOTHING)
    found = hardest(results, method)
    figure = new_figure(7.2, 2.35)
    axes = figure.subplots(2, COUNT, squeeze=False)
    splits = {name: load_split(results.data_path(data, name)) for name in {one.split for one in found}}
    for axis in axes.ravel():
        axis.set_axis_off()
    for line, kind in enumerate((REJECTED, ACCEPTED)):
        chosen = [one for one in found if one.kind == kind]
        for axis, one in zip(axes[line], chosen, strict=False):
            axis.set_axis_on()
            stored = splits[one.split]
            picture(axis, np.array(stored.images[one.row]))
            classes = stored.meta.get("classes") or []
            name = classes[one.label] if 0 <= one.label < len(classes) else words.split(one.split)
            axis.set_xlabel(f"{name}\n{np.mean(one.percentiles):.1f} %", fontsize=6, labelpad=2)
        axes[line, 0].set_ylabel(kind.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=7)
    return figure
