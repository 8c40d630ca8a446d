"""Verdicts as the pages show them: text, numbers in points, and the drawing of the interval."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.cases import CONTRADICTED, OPEN, VERDICTS
from reprood.audit.claims import ANY, Claim, unit
from reprood.audit.decide import threshold
from reprood.audit.explanations import points, signed
from reprood.audit.papers import Paper
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.report import labels
from reprood.report.published import against

FORMER = {"inconclusive": OPEN, "contradicted at reduced scale": CONTRADICTED}  # words of releases up to 0.2
COMPARISONS = {
    "difference": "{first} has {better} {metric} than {second}",
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


def by_importance(verdicts: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the verdicts of each kind for main and for exploratory claims; see `overall`."""
    exploratory = verdicts["exploratory"].astype(bool)
    return {"main": overall(verdicts[~exploratory]), "exploratory": overall(verdicts[exploratory])}


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


def shown(row: Mapping[Any, Any], claim: Claim, paper: Paper, suite: Suite, end: float) -> dict[str, Any]:
    """Return one verdict as the page shows it, on an axis of its paper that ends at `end` points."""
    one = unit(row["metric"])

    def label(side: str) -> str:
        method, _, rest = side.partition(" (")
        named = paper.arms[method].means if method in paper.arms else method
        name = suite.methods[method].label if method in suite.methods else named
        inner = ", ".join(labels.part(part) for part in rest.rstrip(")").split(", ") if part)
        return f"{name} ({inner})" if inner else name

    percent = "" if claim.study else " %"
    metric = labels.METRICS.get(row["metric"], row["metric"].replace("_", " ")).removesuffix(", %")
    where = "" if row["split"] == "test" else f" ({labels.split(row['split'])})"
    margin = round(row["margin"] / one, 6)
    names = [label(side.label) for side in claim.sides]
    tested = COMPARISONS[row["kind"]].format(
        first=label(row["first"]) if len(names) < 3 else names[0],
        second=label(row["second"]) if len(names) < 3 else "",
        better=row["better"],
        metric=metric + where,
        margin=points(margin, bool(claim.study)),
        chain=", ".join(names),
        pattern=stated(claim, metric),
    )
    published = row["published_effect"] / one
    effect, interval = row["effect"] / one, labels.interval(row["low"] / one, row["high"] / one, 2)
    value = labels.number if row["kind"] == "equals" else signed
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
    images = [labels.count(row["n"], "ID test image"), labels.count(row["n_ood"], "OOD image")]
    return {
        "id": row["claim"],
        "statement": row["statement"],
        "note": claim.note,
        "exploratory": row["exploratory"],
        "tested": tested[0].upper() + tested[1:],
        "measured": measured,
        "based": ", ".join([labels.plural(int(row["n_seeds"]), "replicate"), *(text for text in images if text)]),
        "benchmark": row["benchmark"] if isinstance(row["benchmark"], str) else "",
        "page": f"{'studies' if claim.study else 'benchmarks'}/{row['benchmark']}.html",
        "unit": "" if claim.study else " points",
        "forest": forest(row, round_up(max(abs(row[key]) / one for key in SHOWN)) if claim.study else end),
        "effect": f"{value(effect, digits)}{'' if claim.study else ' %' if row['kind'] == 'equals' else ' points'}",
        "span": labels.interval(row["low"] / one, row["high"] / one, digits),
        "verdict": row["verdict"],
        "tone": row["verdict"].split()[0],
        "reason": row["reason"][0].upper() + row["reason"][1:],
        "below_chance": [label(side) for side in below.split("; ") if side],
        "against": against(paper, claim.id),
        "unverified": any(not paper.number(name).verified for name in claim.published),
        "published": "" if math.isnan(published) else value(published, 1) + (" %" if row["kind"] == "equals" else ""),
        "source": row["published_source"] if isinstance(row["published_source"], str) else "",
        "differences": row["differences"] if isinstance(row.get("differences"), str) else "",
        "differs": ", ".join(claim.differs),
    }
