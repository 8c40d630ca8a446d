"""Verdicts as the pages show them: text, numbers in points, and the drawing of the interval."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.cases import CONTRADICTED, NOT_JUDGED, NOT_RUN, OPEN, VERDICTS
from reprood.audit.claims import ANY, Claim, unit
from reprood.audit.decide import threshold
from reprood.audit.explanations import points, signed
from reprood.audit.papers import Paper
from reprood.audit.recipes import changes, covers
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.evaluate.directions import lower_is_better
from reprood.report import labels
from reprood.report.images_used import images_used
from reprood.report.published import against
from reprood.report.settings_table import settings_rows

FORMER = {"inconclusive": OPEN, "contradicted at reduced scale": CONTRADICTED}  # words of releases up to 0.2
COMPARISONS = {
    "difference": "{first} has {better} {metric} than {second}{by}",
    "non_inferior": "{first} is at most {margin} worse in {metric} than {second}",
    "equivalent": "{first} and {second} differ in {metric} by less than {margin}",
    "ordering": "each has {better} {metric} than the next: {chain}",
    "signs": "compared with {second}, {first} has {pattern}",
    "equals": "{first} has the published {metric} within {margin}",
}


KEY = ["paper", "claim", "benchmark"]
ENDS = (5.0, 10.0, 20.0, 40.0, 60.0, 100.0)  # round ends of an axis, in points
NUMBERS = ("effect", "low", "high")
SHOWN = ("low", "high", "margin")  # numbers that an axis of a study has to hold


def read_verdicts(path: Path) -> pd.DataFrame:
    """Read a file of verdicts.

    Raises
    ------
    ReproodError
        If the file is missing or not a table, a column is missing, a verdict is unknown, a number is not a number, or a
        claim occurs twice.
    """
    try:
        table = pd.read_csv(path, dtype={"published_source": str, **dict.fromkeys((*KEY, "verdict"), str)})
    except FileNotFoundError as error:
        raise ReproodError(
            f"{path} does not exist; give two published releases (or checkouts with results)."
        ) from error
    except (ValueError, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} is not a table of verdicts ({error}); run the audit again.") from error
    missing = [name for name in (*KEY, "verdict", *NUMBERS) if name not in table]
    if missing:
        raise ReproodError(f"{path} has no columns {', '.join(missing)}; give a file verdicts.csv.")
    for name in NUMBERS:
        try:
            table[name] = table[name].astype(float)
        except (ValueError, TypeError) as error:
            raise ReproodError(
                f"{path}: the column {name} must hold numbers ({error}); run the audit again."
            ) from error
    table["verdict"] = table["verdict"].fillna("").replace(FORMER)
    unknown = sorted(set(table["verdict"]) - set(VERDICTS))
    if unknown:
        raise ReproodError(f"{path}: there is no verdict {unknown[0][:40]!r}; known: {', '.join(VERDICTS)}.")
    if table.duplicated(KEY).any():
        first = table[table.duplicated(KEY)].iloc[0]
        raise ReproodError(f"{path} has the claim {first['paper']}/{first['claim']} twice; run the audit again.")
    return table


def overall(verdicts: pd.DataFrame) -> dict[str, int]:
    """Count the verdicts of each kind, in display order; kinds that do not occur are omitted."""
    counts = Counter(verdicts["verdict"])
    return {name: counts[name] for name in VERDICTS if counts[name]}


def importance(row: Mapping[Any, Any]) -> str:
    """Return the section of a verdict: main, exploratory, or published (a value of a paper that is compared)."""
    return "published" if row["kind"] == "equals" else "exploratory" if row["exploratory"] else "main"


def by_importance(verdicts: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the verdicts of each kind in each section; see `overall` and `importance`."""
    sections = pd.Series([importance(row) for row in verdicts.to_dict("records")], verdicts.index, dtype=str)
    return {name: overall(verdicts[sections == name]) for name in ("main", "exploratory", "published")}


def readable(reason: str, names: Mapping[str, str]) -> str:
    """Return a reason with labels in place of the names of sides, metrics and splits.

    Examples
    --------
    >>> readable("the runs did not store the score of erm (msp)", {"erm (msp)": "Cross-entropy (MSP)", "erm": "X"})
    'the runs did not store the score of Cross-entropy (MSP)'
    """
    if not names:
        return reason
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w/])({known})(?![\w/])", lambda found: names[found[0]], reason)


def axis_end(rows: Iterable[Mapping[Any, Any]]) -> float:
    """Return the end of the axis, in points, that a paper's claims share: most intervals lie inside; see `forest`."""
    ends = []
    for row in rows:
        if not math.isnan(row["effect"]):
            one = unit(str(row["metric"]))
            base = row["published_effect"] if row["kind"] == "equals" else 0.0
            ends += [abs(row[key] - base) / one for key in ("low", "high")] + [1.6 * row["margin"] / one]
    return axis_of(ends)


def axis_of(ends: Sequence[float]) -> float:
    """Return the smallest of the round ends of an axis that shows nine tenths of some values.

    Examples
    --------
    >>> axis_of([1.0, 3.0, 4.0, 70.0, 6.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    10.0
    """
    wanted = sorted(ends)[min(len(ends) - 1, int(0.9 * len(ends)))] if ends else 0.0
    return next((end for end in ENDS if end >= wanted), round_up(wanted))


def round_up(value: float) -> float:
    """Return the smallest round number that is not below a number: numbers of a study may have any size.

    Examples
    --------
    >>> round_up(594.6), round_up(0.031), round_up(100.0), round_up(0.0)
    (600.0, 0.04, 100.0, 1.0)
    """
    if not (0 < value < math.inf):  # nothing was measured, or exactly zero
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(round(step * power, 12) for step in (1, 1.5, 2, 3, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def forest(row: Mapping[Any, Any], end: float) -> dict[str, Any] | None:
    """Return the positions of an interval in percent of the width of a symmetric axis; None if nothing was measured.

    Parameters
    ----------
    row : mapping
        A verdict.
    end : float
        End of the axis in points; what lies beyond it is cut.

    Returns
    -------
    dict
        low, width, effect, published (or None): positions; claimed: (start, width) of the claimed range; cut_low,
        cut_high: whether the interval goes beyond the axis; end: end of the axis as text.
    """
    if math.isnan(row["effect"]):
        return None
    one = unit(str(row["metric"]))
    # a value is shown as its difference from the published one
    base = row["published_effect"] if row["kind"] == "equals" else 0.0
    low, high, effect = ((row[key] - base) / one for key in ("low", "high", "effect"))
    margin = row["margin"] / one
    # a published effect in another setting is listed with the differences, and not drawn
    other = math.isnan(row["published_effect"]) or not row["comparable"]
    published = None if other else (row["published_effect"] - base) / one

    def place(value: float) -> float:
        return round(50 + 50 * min(max(value / end, -1.0), 1.0), 2)

    if row["kind"] in ("equals", "equivalent"):
        start, stop = place(-margin), place(margin)
    else:
        bound = place(threshold(row["kind"], row["better"], margin))
        start, stop = (bound, 100.0) if row["better"] == "higher" else (0.0, bound)
    return {
        "low": place(low),
        "width": round(place(high) - place(low), 2),
        "effect": place(effect),
        "published": None if published is None else place(published),
        "claimed": (start, round(stop - start, 2)),
        "cut_low": low < -end,
        "cut_high": high > end,
        "end": f"{end:g}",
    }


def stated(claim: Claim, metric: str) -> str:
    """Describe a pattern of signs: 'higher AUROC on each of the OOD sets', or 'higher AUROC on a; lower on b, c'."""
    clauses: list[str] = []
    for sign, direction in (("better", claim.better), ("worse", "higher" if claim.better == "lower" else "lower")):
        names = [labels.part(name) for name, given in claim.signs.items() if given == sign and name != ANY]
        if claim.signs.get(ANY) == sign:
            every = "OOD sets" if claim.over == "sets" else "members"
            names.append(f"all other {every}" if len(claim.signs) > 1 else f"each of the {every}")
        if names:
            clauses.append(f"{direction}{'' if clauses else f' {metric}'} on {', '.join(names)}")
    return "; ".join(clauses)


def claimed(row: Mapping[Any, Any], study: str = "") -> str:
    """Say which direction a claim asserts, and whether it is the better one, which numbers of a study do not tell.

    Examples
    --------
    >>> claimed({"metric": "auroc", "better": "higher"}), claimed({"metric": "auroc", "better": "lower"})
    ('higher is better', 'claimed to be lower')
    """
    if not study and (row["better"] == "lower") == lower_is_better(str(row["metric"])):
        return f"{row['better']} is better"
    return f"claimed to be {row['better']}"


def settings_that_differ(sides: Sequence[str], claim: Claim, item: Mapping[str, Any] | None) -> list[str]:
    """Return the settings that a claim declares to differ and that do, with both values if they are short."""
    runs = item["runs"] if item and claim.differs else []
    recipes = {run["method"]: run["recipe"] for run in runs}
    methods = [name for name in dict.fromkeys(side.partition(" (")[0] for side in sides) if name in recipes]
    found: dict[str, str] = {}
    for pair in pairwise(methods):
        without = [name for name in pair if recipes[name].settings.get("rotations") is False]
        for change in changes(recipes[pair[0]], recipes[pair[1]]):
            if any(covers(name, change.name) for name in claim.differs):
                if without and change.name.startswith("pretraining."):  # defaults that this side does not use
                    found["pretraining"] = f"pre-training on rotations (none for {' and '.join(without)})"
                    continue
                values = [str(value) for value in (change.first, change.second)]
                given = f" ({values[0]} and {values[1]})" if all(0 < len(value) <= 12 for value in values) else ""
                found[change.name] = change.name.removeprefix("training.").replace("_", " ") + given
    return list(found.values())


def _title(name: Any, suite: Suite, item: Mapping[str, Any] | None) -> str:
    """Return the title of the benchmark or study of a verdict; its name if it has none."""
    if item is not None:
        return str(item["record"].title)
    return suite.studies[name].title if name in suite.studies else str(name)


def shown(
    row: Mapping[Any, Any],
    claim: Claim,
    paper: Paper,
    suite: Suite,
    end: float,
    benchmarks: Mapping[str, Mapping[str, Any]] = {},
    words: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    titles: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Return one verdict as the page shows it.

    Parameters
    ----------
    row, claim, paper, suite
        A row of verdicts.csv, and what it is about.
    end : float
        End of the paper's axis in points.
    benchmarks : mapping
        The records of the benchmarks' pages.
    words : (mapping, mapping)
        Names of a study's arms and metrics for readers.
    titles : mapping
        Title of each data set, by name.
    """
    one = unit(row["metric"])
    arms, metrics = words if claim.study else ({}, {})

    def label(side: str) -> str:
        method, _, rest = side.partition(" (")
        if claim.study:
            return arms.get(method, method.replace("_", " "))
        named = paper.arms[method].means if method in paper.arms else method
        name = suite.methods[method].label if method in suite.methods else named
        inner = ", ".join(labels.part(part) for part in rest.rstrip(")").split(", ") if part)
        return f"{name} ({inner})" if inner else name

    metric = metrics.get(row["metric"], "") or labels.METRICS.get(row["metric"], row["metric"].replace("_", " "))
    unitless = bool(claim.study) and not metric.endswith(", %")
    percent = "" if unitless else " %"
    metric = metric.removesuffix(", %")
    by_side = claim.sides and all(side.split for side in claim.sides)  # then the sides name their splits themselves
    where = "" if row["split"] == "test" or by_side else f" ({labels.split(row['split'])})"
    margin = round(row["margin"] / one, 6)
    names = [label(side.label) for side in claim.sides]
    tested = COMPARISONS[row["kind"]].format(
        first=label(row["first"]) if len(names) < 3 else names[0],
        second=label(row["second"]) if len(names) < 3 else "",
        better=row["better"],
        metric=metric + where,
        margin=points(margin, unitless),
        by=f", by {points(margin, unitless)} or more" if margin else "",
        chain=", ".join(names),
        pattern=stated(claim, metric),
    )
    published = row["published_effect"] / one
    value, between = (labels.number, labels.interval) if row["kind"] == "equals" else (signed, labels.signed_interval)
    effect, interval = row["effect"] / one, between(row["low"] / one, row["high"] / one, 2)
    digits = 2 if claim.study else 1
    measured = ""
    if interval:
        values = (labels.number(row["value_first"] / one, 2), labels.number(row["value_second"] / one, 2))
        measured = f"{label(row['first'])} {values[0]}{percent}"
        if row["kind"] != "equals":
            measured += f", {label(row['second'])} {values[1]}{percent}: difference {value(effect, 2)}"
        measured += f", {100 * row['level']:g} % interval {interval}"
    below = row.get("below_chance", "")
    below = below if isinstance(below, str) else ""
    item = benchmarks.get(row["benchmark"]) if isinstance(row["benchmark"], str) else None
    sides = (row["first"], row["second"], *(one.label for one in claim.sides))
    names_of = {} if claim.study else {side: label(side) for side in sides}
    names_of |= {claim.metric: metric, claim.split: labels.split(claim.split)} if row["verdict"] == NOT_RUN else {}
    trained = ", ".join(dict.fromkeys(run["network"] for run in item["runs"])) if item else ""
    titled = {name: other["record"].title for name, other in benchmarks.items()} | dict(titles)
    differences = row["differences"] if isinstance(row.get("differences"), str) else ""
    reason = readable(row["reason"], names_of)
    if row["kind"] == "equals" and row["verdict"] == NOT_JUDGED and differences:
        reason = "the setting here is another one; what differs is listed below"
    return {
        "id": row["claim"],
        "statement": row["statement"],
        "note": claim.note,
        "section": importance(row),
        "ours": claim.ours,
        "tested": tested[0].upper() + tested[1:],
        "measured": measured,
        "based": ", ".join(
            text
            for text in (
                labels.plural(int(row["n_seeds"]), "replicate"),
                images_used(row, item, one_member=claim.over == "members"),
            )
            if text
        ),
        "benchmark": row["benchmark"] if isinstance(row["benchmark"], str) else "",
        "place": _title(row["benchmark"], suite, item),
        "page": f"{'studies' if claim.study else 'benchmarks'}/{row['benchmark']}.html",
        "unit": "" if unitless else " points",
        "forest": forest(row, round_up(max(abs(row[key]) / one for key in SHOWN)) if claim.study else end),
        "effect": f"{value(effect, digits)}{'' if unitless else ' %' if row['kind'] == 'equals' else ' points'}",
        "of": metric if row["kind"] == "equals" else f"{metric}{where}, {claimed(row, claim.study)}",
        "span": between(row["low"] / one, row["high"] / one, digits),
        "verdict": row["verdict"],
        "tone": row["verdict"].split()[0],
        "reason": reason[0].upper() + reason[1:],
        "below_chance": [label(side) for side in below.split("; ") if side],
        "against": against(paper, claim),
        "unverified": any(not paper.number(name).verified for name in claim.published),
        "published": "" if math.isnan(published) else value(published, 1) + (" %" if row["kind"] == "equals" else ""),
        "source": row["published_source"] if isinstance(row["published_source"], str) else "",
        "differences": settings_rows(differences, titled, trained),
        "differs": ", ".join(settings_that_differ(sides, claim, item)),
    }
