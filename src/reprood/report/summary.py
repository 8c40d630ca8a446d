"""What a suite found, in sentences and in one forest: every main claim, effects to the right support it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reprood.audit.cases import (
    CONTRADICTED,
    GATED,
    NOT_JUDGED,
    NOT_RUN,
    OPEN,
    REPRODUCED,
    SMALLER,
    SUPPORTED,
    VERDICTS,
)
from reprood.audit.claims import unit
from reprood.audit.decide import STRICT
from reprood.audit.explanations import signed
from reprood.audit.papers import Paper
from reprood.report import labels
from reprood.report.claims import axis_of, overall

DIRECTED = (*STRICT, "non_inferior")  # kinds of claims that state a direction
DECIDED = (REPRODUCED, SUPPORTED, CONTRADICTED, SMALLER)
# For each end of an axis, ticks that leave room for their numbers on a phone.
TICKS = {5.0: (1.0,), 10.0: (2.0,), 20.0: (1.0, 5.0), 40.0: (1.0, 10.0), 60.0: (2.0, 15.0), 100.0: (3.0, 25.0)}
WORDS = {
    REPRODUCED: "reproduced",
    SUPPORTED: "supported at reduced scale",
    CONTRADICTED: "contradicted",
    SMALLER: "smaller than relevant",
    OPEN: "open",
    GATED: "without a representative baseline",
    NOT_JUDGED: "not judged at this scale",
    NOT_RUN: "not run",
}


def main_claims(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of main claims: one each, on the benchmark that counts, decided ones first within a paper.

    Published values (the kind `equals`) are compared, and are no main claims (see `audit.papers.MAIN_CLAIMS`).
    """
    rows = verdicts[~verdicts["exploratory"].astype(bool) & (verdicts["kind"] != "equals")]
    return rows.sort_values("verdict", kind="stable", key=lambda names: names.map(VERDICTS.index))


def decided_share(verdicts: pd.DataFrame) -> float:
    """Return the share of the main claims that are decided, in [0, 1]."""
    rows = main_claims(verdicts)
    return float(rows["verdict"].isin(DECIDED).mean()) if len(rows) else 0.0


def direction(row: Mapping[Any, Any]) -> float:
    """Return +1 if larger effects support a claim, -1 if smaller ones do, 0 for a claim without direction."""
    if row["kind"] not in DIRECTED:
        return 0.0
    return 1.0 if row["better"] == "higher" else -1.0


def counted(counts: Mapping[str, int]) -> str:
    """Return counts of verdicts as text.

    Examples
    --------
    >>> counted({"supported at reduced scale": 2, "open": 1})
    '2 supported at reduced scale, 1 open'
    """
    return ", ".join(f"{counts[name]} {WORDS[name]}" for name in VERDICTS if counts.get(name))


def result_of(verdicts: pd.DataFrame) -> str:
    """Return the result of a suite or a paper in two sentences.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "exploratory": [False, False], "verdict": ["supported at reduced scale", "not run"],
    ...     "effect": [0.1, math.nan], "kind": ["difference"] * 2, "better": ["higher"] * 2})
    >>> result_of(table)
    'Of 2 main claims, 1 supported at reduced scale, 1 not run. Of 1 with a measured direction, 1 points as claimed.'
    """
    rows = main_claims(verdicts)
    if rows.empty:
        return "No main claim belongs to this suite."
    text = f"Of {labels.plural(len(rows), 'main claim')}, {counted(overall(rows))}."
    measured = [row for row in rows.to_dict("records") if direction(row) and not math.isnan(row["effect"])]
    if measured:
        agree = sum(direction(row) * row["effect"] > 0 for row in measured)
        verb = "points" if agree == 1 else "point"
        text += f" Of {len(measured)} with a measured direction, {agree} {verb} as claimed."
    return text


def paper_sentences(paper: Paper, verdicts: pd.DataFrame) -> list[str]:
    """Return what holds, the clearest effect next to the published one, and what prevented decisions."""
    rows = main_claims(verdicts).to_dict("records")
    sentences = [result_of(verdicts)]
    studies = {claim.id for claim in paper.claims if claim.study}  # their numbers have units of their own
    measured = [
        row
        for row in rows
        if row["verdict"] in (*DECIDED, OPEN)
        and direction(row)
        and row["claim"] not in studies
        and not math.isnan(row["effect"])
    ]
    clearest = min(measured, key=lambda row: (row["verdict"] not in DECIDED, row["p"]), default=None)
    if clearest is not None:
        one = unit(str(clearest["metric"]))
        low, high = (signed(clearest[key] / one) for key in ("low", "high"))
        metric = labels.METRICS.get(clearest["metric"], clearest["metric"].replace("_", " ")).removesuffix(", %")
        text = (
            f"Clearest effect, {WORDS[clearest['verdict']]}: \u201c{clearest['statement'].rstrip('.')}\u201d: "
            f"{signed(clearest['effect'] / one)} points of {metric} [{low}, {high}], {clearest['better']} is better"
        )
        published = clearest["published_effect"]
        if math.isnan(published):
            text += "; no published effect is known."
        else:
            where = "" if clearest["comparable"] else ", in another setting"
            text += f"; published {signed(published / one)} points{where}."
        sentences.append(text)
    if open_ := [row for row in rows if row["verdict"] == OPEN]:
        given = sum(str(row["reason"]).startswith("given up") for row in open_)
        around = sum(row["low"] <= 0 <= row["high"] for row in open_)
        why = f"{len(open_)} of {len(rows)} main claims are open; the intervals of {around} include zero"
        looks = {f"look {row['look']} of {row['looks']}" for row in open_ if row.get("look") and row.get("looks")}
        sentences.append(
            f"{why}{f' ({given} given up as futile)' if given else ''}"
            + (f", at {', '.join(sorted(looks))}" if looks else "")
            + "."
        )
    for verdict, why in (
        (
            GATED,
            "{n} cannot be tested here, because the baseline is at chance, near perfect or not trained to the end.",
        ),
        (NOT_RUN, "{n} {are} not run in this suite."),
    ):
        count = sum(row["verdict"] == verdict for row in rows)
        if count:
            sentences.append(why.format(n=count, are="is" if count == 1 else "are"))
    return sentences


def forest_rows(papers: Sequence[Paper], verdicts: pd.DataFrame) -> tuple[list[dict[str, Any]], float]:
    """Return the rows of the forest of all measured main claims, and the end of its axis in points.

    Values are in points, oriented so that positive ones support the claim; those of claims of equality as measured.

    Returns
    -------
    rows : list of dict
        paper (its short name), id, claim, statement, page, verdict, effect, low, high, claimed (low, high), published
        (or None), elsewhere (published in another setting), hollow (published value not verified).
    end : float
    """
    rows: list[dict[str, Any]] = []
    for paper in papers:
        claims = {claim.id: claim for claim in paper.claims}
        for row in main_claims(verdicts[verdicts["paper"] == paper.id]).to_dict("records"):
            claim = claims[row["claim"]]
            if math.isnan(row["effect"]) or claim.study or claim.kind == "equals":
                continue
            one, side = unit(str(row["metric"])), direction(row) or 1.0
            low, high = sorted(side * row[key] / one for key in ("low", "high"))
            margin = row["margin"] / one
            claimed = {"equivalent": (-margin, margin), "non_inferior": (-margin, math.inf)}
            known = not math.isnan(row["published_effect"])
            rows.append(
                {
                    "paper": paper.short,
                    "id": paper.id,
                    "claim": claim.id,
                    "statement": claim.statement,
                    "page": f"papers/{paper.id}.html#claim-{claim.id}",
                    "verdict": row["verdict"],
                    "effect": side * row["effect"] / one,
                    "low": low,
                    "high": high,
                    "claimed": claimed.get(claim.kind, (margin, math.inf)),
                    "published": side * row["published_effect"] / one if known else None,
                    "elsewhere": known and not bool(row.get("comparable", False)),
                    "hollow": any(not paper.number(name).verified for name in claim.published),
                }
            )
    return rows, axis_of([abs(row[key]) for row in rows for key in ("low", "high")])


def place(value: float, end: float) -> float:
    """Return the position of a value in percent of the axis from -end to +end, which is that of its square root.

    Intervals of errors are ten times as narrow as those of AUROC; on a linear axis they would be dots.

    Examples
    --------
    >>> place(0.0, 40.0), place(10.0, 40.0), place(-1.6, 40.0), place(math.inf, 40.0)
    (50.0, 75.0, 40.0, 100.0)
    """
    return round(50 + math.copysign(50 * math.sqrt(min(abs(value) / end, 1.0)), value), 2)


def ticks(end: float) -> list[dict[str, Any]]:
    """Return the ticks of the axis from -end to +end: position and text.

    Examples
    --------
    >>> [tick["text"] for tick in ticks(40.0)]
    ['−40', '−10', '−1', '0', '+1', '+10', '+40']
    """
    right = [*TICKS.get(end, (end / 4,)), end]
    values = [*(-value for value in reversed(right)), 0.0, *right]
    return [{"at": place(value, end), "text": f"{value:+g}".replace("-", "−") if value else "0"} for value in values]


def positions(row: Mapping[str, Any], end: float) -> dict[str, Any]:
    """Return the positions of a row's marks in percent of the width of the axis from -end to +end, see `place`.

    Returns
    -------
    dict
        low, width, effect, published (or None), claimed (start, width); cut_low, cut_high: whether the interval goes
        beyond the axis.
    """
    low, high = place(row["low"], end), place(row["high"], end)
    start, stop = (place(value, end) for value in row["claimed"])
    return {
        "low": low,
        "width": round(high - low, 2),
        "effect": place(row["effect"], end),
        "published": None if row["published"] is None else place(row["published"], end),
        "claimed": (start, round(stop - start, 2)),
        "cut_low": row["low"] < -end,
        "cut_high": row["high"] > end,
    }


def spoken(row: Mapping[str, Any]) -> str:
    """Return the marks of a row as text, for readers who do not see them."""
    text = f"effect {signed(row['effect'])} points, interval {signed(row['low'])} to {signed(row['high'])}"
    return text if row["published"] is None else f"{text}; published {signed(row['published'])}"
