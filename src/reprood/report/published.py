"""Published numbers next to those measured here in the same setting, and published effects next to measured ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reprood.audit.claims import LOCALISATION, SEGMENTATION, Claim, unit
from reprood.audit.decide import BOUNDED, agrees
from reprood.audit.explanations import signed
from reprood.audit.papers import Paper
from reprood.audit.published import COMPLEMENTS, Published, measured_metric
from reprood.audit.settings import attached
from reprood.evaluate.resample import Replicates
from reprood.report import labels
from reprood.report.formats import Cell, Table, measured, plain
from reprood.report.results import BenchmarkResults, interval_of

UNVERIFIED = "◇"
NONE = Cell("–")


def comparable(table: Table) -> Table | None:
    """Keep the published numbers that were also measured here; None if there are none."""
    first = len(HEAD)
    rows = tuple(row for row in table.rows if any(cell.text != "–" for cell in row[first:]))
    return replace(table, rows=rows) if rows else None


HEAD = ("where", "setting", "method", "metric", "published", "±", "source")


def published(paper: Paper, results: Sequence[BenchmarkResults]) -> Table:
    """Make the table of a paper's numbers next to those measured with the corresponding method in the same setting.

    Benchmarks and families that measured none of them are omitted.
    """
    members = {number.member for number in paper.published if number.member}
    columns: dict[str, list[Cell]] = {}
    for one in results:
        if one.paired:
            name = f"{one.name} (mean of {len(one.members)})"
            columns[name] = [
                _cell(number, paper, one, number.members == len(one.members)) for number in paper.published
            ]
        for name in one.members:
            alone = replace(one, name=name)
            if not alone.benchmark.family or alone.benchmark.member in members:
                here = alone.benchmark.member
                columns[name] = [
                    _cell(number, paper, alone, not number.members and number.member == here)
                    for number in paper.published
                ]
    columns = {name: cells for name, cells in columns.items() if any(cell is not NONE for cell in cells)}
    rows = [
        (
            Cell(number.where),
            Cell(number.setting),
            Cell(number.method),
            Cell(labels.published_metric(number.metric)),
            Cell(f"{number.value:g}", "", number.value, mark="" if number.verified else UNVERIFIED),
            Cell("" if number.spread is None else f"{number.spread:g}{_kind(number)}"),
            Cell(number.read),
            *(cells[place] for cells in columns.values()),
        )
        for place, number in enumerate(paper.published)
    ]
    head = (*HEAD, *(f"measured on {name}" for name in columns))
    caption = (
        "Published numbers, and those measured here with the corresponding method, score and split in the published "
        f"setting (equal data, network, OOD sets, base rate, auxiliary images, checkpoint and precision), with 95 % "
        f"intervals. {UNVERIFIED}: cited from memory and not verified. ±: SE, standard error; SD, "
        "standard deviation."
    )
    return Table(f"published_{paper.id}", caption, head, tuple(rows))


def _kind(number: Published) -> str:
    return {"standard error": " SE", "standard deviation": " SD"}.get(number.spread_is, "")


def _method(number: Published, paper: Paper, results: BenchmarkResults) -> str | None:
    """Return the method that measured a number on a benchmark in the published setting; None if there is none."""
    if not number.measured_by or (number.score != "-" and not results.detects):
        return None
    method = paper.method_of(number.measured_by, results.methods)
    if method is None or not len(_values(number, paper, results, method)):
        return None
    measurement = replace(results.measurement(method, paper.auxiliary_of(number)), whole=bool(number.members))
    return method if attached(paper.compared(number, measurement)) else None


def _values(number: Published, paper: Paper, results: BenchmarkResults, method: str) -> np.ndarray:
    split = paper.split_on(number, results.benchmark)
    return results.values(method, measured_metric(number.metric), split, number.score)


def _cell(number: Published, paper: Paper, results: BenchmarkResults, fits: bool) -> Cell:
    """Return what was measured for a published number; a dash if nothing, or if it is of other members (`fits`)."""
    method = _method(number, paper, results) if fits else None
    if method is None:
        return NONE
    replicates = _replicates(number, paper, results, method)
    if replicates is not None:
        return _complement(number, measured(measured_metric(number.metric), interval_of(replicates)))
    values = _values(number, paper, results, method)
    return _complement(number, plain(measured_metric(number.metric), values.tolist()))


def _replicates(number: Published, paper: Paper, results: BenchmarkResults, method: str) -> Replicates | None:
    """Return the resampled metric of a published number; None for a metric that is shown without interval."""
    metric, split = measured_metric(number.metric), paper.split_on(number, results.benchmark)
    if metric == "top1_error":
        return results.error_replicates(method, split)
    if metric in LOCALISATION:
        return results.localisation_replicates(method, metric)
    if metric in SEGMENTATION:
        return results.segmentation_replicates(method, metric)
    if metric == "auroc" and results.sampled(method, number.score):
        return results.detection_replicates(method, metric, split, number.score)
    return None


def _complement(number: Published, cell: Cell) -> Cell:
    """Return 100 % minus a cell for a published metric that is the complement of a measured one."""
    cell = replace(cell, metric="")  # the rows of this table are of different settings
    if number.metric not in COMPLEMENTS or cell.value is None:
        return cell
    interval = ""
    if cell.interval:
        high, low = (100 - float(end) for end in cell.interval.strip("[]").split(", "))
        interval = labels.interval(low, high)
    return replace(cell, text=labels.number(100 - cell.value), interval=interval, value=100 - cell.value)


def against(paper: Paper, claim: Claim) -> list[str]:
    """Describe the published measurements by others that speak against a claim, as the metric of the claim.

    A difference is of the claim's first side minus its second. One within the margin of a claim that only limits a loss
    does not speak against it, and is left out.
    """
    found = []
    for number in paper.published:
        if claim.id not in number.against:
            continue
        where = f"{number.setting}; {number.where}, {number.read}{'' if number.verified else f' {UNVERIFIED}'}"
        metric = labels.published_metric(measured_metric(number.metric)).removesuffix(", %")
        if not number.than:
            found.append(f"{number.method} {number.as_measured:g} %: {metric}, {where}")
            continue
        pair = (number, paper.number(number.than))
        for one, other in (pair, pair[::-1]):
            if _speaks_against(claim, one, other):
                texts = [f"{side.method} {side.as_measured:g} %" for side in (one, other)]
                gap = signed(one.as_measured - other.as_measured)
                found.append(f"{', '.join(texts)} (difference {gap} points): {metric}, {where}")
                break
    return found


def _speaks_against(claim: Claim, one: Published, other: Published) -> bool:
    gap = round(one.as_measured - other.as_measured, 6)
    if claim.kind == "equals":
        return True
    row = {"kind": claim.kind, "better": claim.better, "margin": claim.margin / unit(claim.metric), "effect": gap}
    return not agrees(row)


def effects(paper: Paper, verdicts: Sequence[Mapping[str, Any]]) -> Table | None:
    """Make the table of published effects next to measured ones, one row per verdict; None without any.

    Parameters
    ----------
    paper : Paper
        The paper.
    verdicts : sequence of mapping
        Its rows of `verdicts.csv`.
    """
    rows = []
    for row in verdicts:
        if np.isnan(row["published_effect"]) or row["kind"] == "equals":
            continue
        one = unit(str(row["metric"]))
        claim = next(claim for claim in paper.claims if claim.id == row["claim"])
        theirs, ours = row["published_effect"] / one, row["effect"] / one
        unverified = any(not paper.number(name).verified for name in claim.published)
        same = "–" if np.isnan(ours) or row["kind"] in BOUNDED else "yes" if (theirs > 0) == (ours > 0) else "no"
        interval = labels.signed_interval(row["low"] / one, row["high"] / one)
        rows.append(
            (
                Cell(claim.statement),
                Cell(row["benchmark"] if isinstance(row["benchmark"], str) and row["benchmark"] else "–"),
                Cell(signed(theirs), "", theirs, mark=UNVERIFIED if unverified else ""),
                Cell(row["published_source"]),
                Cell(signed(ours), interval, None if np.isnan(ours) else ours),
                Cell(same),
                Cell(row["verdict"]),
            )
        )
    head = ("claim", "measured on", "published effect", "published for", "measured effect", "same direction", "verdict")
    caption = (
        "Differences of the two sides of each claim, in points (numbers of studies in their own unit): as published, "
        f"and as measured here with the interval of the verdict{_levels(verdicts)}. {UNVERIFIED}: cited from memory "
        "and not verified. Outside the published setting compare directions, not sizes. A claim that a difference is "
        "within a margin has no direction (–)."
    )
    return Table(f"effects_{paper.id}", caption, head, tuple(rows)) if rows else None


def _levels(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return the levels of the measured intervals in brackets, with their look if it is one; empty without any."""
    found = {(row["level"], row.get("look", 0)) for row in verdicts if not np.isnan(row["effect"])}
    if len(found) == 1:
        level, look = next(iter(found))
        return f" ({100 * level:g} %{f' at look {look:g}' if look else ''})"
    levels = sorted({level for level, _ in found})
    return f" ({100 * levels[0]:g} to {100 * levels[-1]:g} %)" if levels else ""
