"""The hardest test images of a benchmark: those on which its leading method is most wrong in every seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from reprood.data.arrays import load_split
from reprood.evaluate.table import groups
from reprood.report import labels
from reprood.report.formats import Cell, Table
from reprood.report.pictures import picture
from reprood.report.results import BenchmarkResults
from reprood.report.style import new_figure, notice

COUNT = 8  # of each kind
NOTHING = "The leading method has no run here that passed the accuracy gate, so there are no hardest images."
REJECTED, ACCEPTED = "ID, rejected", "OOD, accepted"


@dataclass(frozen=True)
class Hard:
    """A test image with a wrong score.

    Attributes
    ----------
    kind : str
        REJECTED or ACCEPTED.
    split : str
        The data set.
    row : int
        Index in the set's arrays.
    label : int
        Class of an ID image; -1 for an OOD image.
    percentiles : tuple of float
        For each seed, percent of the ID test images with a lower score (ties count one half).
    """

    kind: str
    split: str
    row: int
    label: int
    percentiles: tuple[float, ...]


def leading(results: BenchmarkResults) -> str | None:
    """Return the method with the highest AUROC of its own score, the first of the leaderboard; None if all failed."""

    def value(method: str) -> float:
        found = results.detection_replicates(method, "auroc", results.natural, results.headline(method))
        return float(found.observed[0].mean())

    return max(results.detecting, key=value, default=None)


def percentiles(in_distribution: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the percent of the ID scores [n] that are lower than each score [m]; ties count one half."""
    ordered = np.sort(in_distribution)
    below, upto = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray(50.0 * (below + upto) / len(ordered))


def hardest(results: BenchmarkResults, method: str) -> list[Hard]:
    """Return the ID images with the lowest and the OOD images with the highest scores in every seed.

    Of a family, the images and seeds of the first member.
    OOD images come from the sets of the main mean. ID images are ranked by the highest of their percentiles over the
    seeds, OOD images by the lowest; ties by the mean.
    """
    column = f"score_{results.headline(method)}"
    found: list[Hard] = []
    candidates: dict[str, list[tuple[float, float, str, int, int, np.ndarray]]] = {REJECTED: [], ACCEPTED: []}
    runs = results.shown(method)
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
    """Make the table of the hardest images: data set, index and percentile of the score."""
    head = ("images", "data set", "index", "class", "percentile of the score, %", "lowest seed", "highest seed")
    method = leading(results)
    if method is None or not results.shown(method):
        return Table("hardest", NOTHING, head, ())
    rows = tuple(
        (
            Cell(one.kind),
            Cell(labels.split(one.split)),
            Cell(str(one.row), "", float(one.row)),
            Cell(str(one.label), "", float(one.label)) if one.label >= 0 else Cell("–"),
            *(
                Cell(labels.number(value, 2), "", value)
                for value in (float(np.mean(one.percentiles)), min(one.percentiles), max(one.percentiles))
            ),
        )
        for one in hardest(results, method)
    )
    caption = (
        f"ID images that {results.label(method)} ({labels.score(results.headline(method))}), the first method of the "
        "leaderboard, rejects most confidently in every seed, and OOD images that it accepts most confidently. "
        "Percentile: share of the ID test images with a lower score, mean over seeds. Images are ranked by their "
        f"least extreme percentile over the seeds{' of the first member' if results.paired else ''}. OOD sets: "
        f"{labels.split(results.natural)}."
    )
    return Table("hardest", caption, head, rows)


def draw_hardest(results: BenchmarkResults, data: Path) -> Figure:
    """Draw the hardest ID images (top) and the hardest OOD images (bottom)."""
    method = leading(results)
    if method is None or not results.shown(method):
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
            name = classes[one.label] if 0 <= one.label < len(classes) else labels.split(one.split)
            axis.set_xlabel(f"{name}\n{np.mean(one.percentiles):.1f} %", fontsize=6, labelpad=2)
        axes[line, 0].set_ylabel(kind.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=7)
    return figure
