"""What a suite found, in sentences and in one forest: every main claim, effects to the right support it."""

import math
from collections.abc import Collection, Mapping, Sequence
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
from reprood.audit.claims import Claim, unit
from reprood.audit.decide import BOUNDED, STRICT, agrees, threshold
from reprood.audit.explanations import signed
from reprood.audit.papers import Paper
from reprood.report import labels
from reprood.report.claims import axis_of, claimed, overall
from reprood.report.studies.numbers import listed

DIRECTED = (*STRICT, "non_inferior")  # kinds of claims that state a direction
OPEN_BECAUSE = {  # for one claim, for several
    "zero": ("has an interval that includes zero", "have intervals that include zero"),
    "margin": ("has an interval that includes its margin", "have intervals that include their margins"),
    "corrected": ("is not significant after correction", "are not significant after correction"),
    "gate": (
        "is not judged, because a training failed the accuracy gate",
        "are not judged, because a training failed the accuracy gate",
    ),
    "none": ("has too few results", "have too few results"),
}
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


def result_of(verdicts: pd.DataFrame, papers: Sequence[Paper] = ()) -> str:
    """Return the result of a suite or a paper in two or three sentences.

    With the papers, one sentence says what the decided claims are: those of a bound, which say that a method costs
    little, and controls of ours, which no paper states, are not the results that a paper is known for.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "paper": ["csi"] * 2, "claim": ["one", "two"], "exploratory": [False, False],
    ...     "verdict": ["supported at reduced scale", "not run"], "margin": [0.0, 0.0],
    ...     "effect": [0.1, math.nan], "kind": ["difference"] * 2, "better": ["higher"] * 2})
    >>> result_of(table)
    'Of 2 main claims, 1 is supported at reduced scale, 1 not run. Of 1 measured effect, 1 points as claimed.'
    """
    rows = main_claims(verdicts)
    if rows.empty:
        return "No main claim belongs to this suite."
    found = rows.to_dict("records")
    ours = {(paper.id, claim.id) for paper in papers for claim in paper.claims if claim.ours}
    controls = sum((row["paper"], row["claim"]) in ours for row in found)
    of_whom = f" ({len(found) - controls} of the papers, {labels.plural(controls, 'control')} of ours)" if ours else ""
    if len(papers) == 1:
        of_whom = of_whom.replace("papers", "paper")
    number, _, rest = counted(overall(rows)).partition(" ")
    counts = f"{number} {'is' if number == '1' else 'are'} {rest}"
    text = f"Of {labels.plural(len(rows), 'main claim')}{of_whom if controls else ''}, {counts}."
    whose = "the paper states" if len(papers) == 1 else "the papers state"
    text += _kinds_of([row for row in found if row["verdict"] in DECIDED], ours, whose)
    measured = [row for row in found if not math.isnan(row["effect"]) and row["verdict"] != GATED]
    if measured:
        agree = sum(agrees(row) for row in measured)
        verb = "points" if agree == 1 else "point"
        margins = ", those with a margin on the claimed side of it" if any(row["margin"] for row in measured) else ""
        which = " with a representative baseline" if any(row["verdict"] == GATED for row in found) else ""
        effects = labels.plural(len(measured), "measured effect")
        text += f" Of {effects}{which}, {agree or 'none'} {verb} as claimed{margins}."
    return text


def _kinds_of(decided: Sequence[Mapping[Any, Any]], ours: Collection[tuple[str, str]], stated: str) -> str:
    """Say what kinds of claims are decided; empty for one, and if all are differences that the papers state."""
    control = [row for row in decided if (row["paper"], row["claim"]) in ours]
    bounded = [row for row in decided if row not in control and row["kind"] in BOUNDED]
    rest = len(decided) - len(control) - len(bounded)
    costs = "is a claim" if len(bounded) == 1 else "are claims"
    parts = [
        f"{rest} {'is a difference' if rest == 1 else 'are differences'} that {stated}" if rest else "",
        f"{len(bounded)} {costs} that something costs at most a margin of ours" if bounded else "",
        f"{len(control)} {'is a control' if len(control) == 1 else 'are controls'} of ours" if control else "",
    ]
    if len(decided) < 2 or rest == len(decided):
        return ""
    return f" Of the {len(decided)} decided, {', '.join(part for part in parts if part)}."


def paper_sentences(paper: Paper, verdicts: pd.DataFrame, command: str = "") -> list[str]:
    """Return what is decided or the first claim, next to the published effect, and what prevented decisions.

    Parameters
    ----------
    paper : Paper
    verdicts : DataFrame
        Its rows of verdicts.csv.
    command : str
        What runs the claims that are not run; "" if unknown.
    """
    rows = main_claims(verdicts).to_dict("records")
    sentences = [result_of(verdicts, [paper]), *_example(paper, rows)]
    if open_ := [row for row in rows if row["verdict"] == OPEN]:
        sentences.append(_open(open_))
    if gated := [str(row["reason"]).partition(";")[0] for row in rows if row["verdict"] == GATED]:
        count, whose = labels.worded(len(gated)).capitalize(), "its baseline" if len(gated) == 1 else "their baselines"
        sentences.append(f"{count} cannot be tested here, because of {whose}: {'; '.join(gated)}.")
    if count := sum(row["verdict"] == NOT_RUN for row in rows):
        are = "is" if count == 1 else "are"
        text = f"{labels.worded(count).capitalize()} {are} not run in this {'selection' if command else 'suite'}"
        sentences.append(f"{text}; {command} runs {'it' if count == 1 else 'them'}." if command else f"{text}.")
    return sentences


def _example(paper: Paper, rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return sentences on the contradicted main claims, on the first in the paper's order, and on a decided one."""
    claims = {claim.id: claim for claim in paper.claims}
    places = list(claims)
    measured = [
        row for row in rows if row["verdict"] in (*DECIDED, OPEN) and direction(row) and not math.isnan(row["effect"])
    ]
    if not measured:
        return []
    first = min(measured, key=lambda row: places.index(row["claim"]))
    shown = [row for row in measured if row["verdict"] == CONTRADICTED]
    shown += [] if first in shown else [first]
    supported = [row for row in measured if row["verdict"] in (REPRODUCED, SUPPORTED) and row not in shown]
    if supported and not any(row["verdict"] in (REPRODUCED, SUPPORTED) for row in shown):
        own = [row for row in supported if not claims[row["claim"]].ours]
        shown.append(min(own or supported, key=lambda row: row["p"]))
    unread = {claim.id for claim in paper.claims if not all(paper.number(name).verified for name in claim.published)}
    return [_named(row, claims[row["claim"]], row["claim"] in unread) for row in shown]


def _named(row: Mapping[Any, Any], claim: Claim, unread: bool) -> str:
    """Return a sentence on one claim: its verdict, effect and published effect, which is from memory if unread."""
    kind = WORDS[row["verdict"]]
    text = f"{kind[0].upper()}{kind[1:]}{' (a control of ours)' if claim.ours else ''}: {_stated(row, claim)}"
    text += "" if row["verdict"] in DECIDED or agrees(row) else "; the estimate is not as claimed"
    if isinstance(row.get("below_chance"), str) and row["below_chance"]:
        text += "; one side is no better than chance, so the size means little"
    one, published = unit(str(row["metric"])), row["published_effect"]
    if math.isnan(published):
        return f"{text}; there is no published effect to compare with."
    memory = ", cited from memory and not verified" if unread else ""
    setting = "" if row["comparable"] else ", in another setting"
    return f"{text}; published {signed(published / one)} points{memory}{setting}."


def _stated(row: Mapping[Any, Any], claim: Claim) -> str:
    """Return a claim's statement, its effect and our margin if it has one; numbers of a study have no unit."""
    one = unit(str(row["metric"]))
    bound = threshold(row["kind"], row["better"], row["margin"]) / one
    digits = next((d for d in (1, 2) if not row["margin"] or not _equal_when_rounded(row, bound * one, one, d)), 3)
    effect, low, high = (signed(row[key] / one, digits) for key in ("effect", "low", "high"))
    known = "" if claim.study else labels.METRICS.get(row["metric"], row["metric"].replace("_", " "))
    points = f" points of {known.removesuffix(', %')}" if known else ""
    text = f"\u201c{row['statement'].rstrip('.')}\u201d: {effect}{points} [{low}, {high}]"
    if row["margin"]:
        side = "above" if row["better"] == "higher" else "below"
        return f"{text}, {claimed(row, claim.study)}; claimed to be {side} {signed(bound)}, a margin of ours"
    return f"{text}, {claimed(row, claim.study)}"


def _equal_when_rounded(row: Mapping[Any, Any], bound: float, one: float, digits: int) -> bool:
    """Return whether the lower or upper limit of an interval equals the bound after rounding."""
    return any(signed(row[key] / one, digits) == signed(bound / one, digits) for key in ("low", "high"))


def _open(rows: Sequence[Mapping[Any, Any]]) -> str:
    """Say why main claims are open, each counted once."""
    counts = dict.fromkeys(OPEN_BECAUSE, 0)
    for row in rows:
        counts[_why_open(row)] += 1
    one = len(rows) == 1
    every = "both" if len(rows) == 2 else "all"
    parts = [
        f"{'it' if one else every if count == len(rows) else labels.worded(count)} {OPEN_BECAUSE[why][count > 1]}"
        for why, count in counts.items()
        if count
    ]
    looks = sorted({int(row["look"]) for row in rows if row.get("look") and row.get("looks")})
    last = max((int(row["looks"]) for row in rows if row.get("looks")), default=0)
    at = f" at look{'s' if len(looks) > 1 else ''} {listed([str(look) for look in looks])} of {last}" if looks else ""
    given = sum(str(row["reason"]).startswith("given up") for row in rows)
    text = f"{labels.worded(len(rows)).capitalize()} {'is' if one else 'are'} open{at}: {', '.join(parts)}."
    if not given:
        return text
    more = f"more replicates would probably not decide {'it' if given == 1 else 'them'}"
    which = "It" if one else f"{(every if given == len(rows) else labels.worded(given)).capitalize()} of them"
    return f"{text} {which} {'is' if given == 1 else 'are'} given up: {more}."


def _why_open(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["effect"]) or math.isnan(row["p"]):
        return "gate" if "accuracy gate" in str(row["reason"]) else "none"
    if row["kind"] == "equivalent":
        inside = abs(row["low"]) < row["margin"] and abs(row["high"]) < row["margin"]
        return "corrected" if inside or row["low"] > row["margin"] or row["high"] < -row["margin"] else "margin"
    bound = threshold(row["kind"], row["better"], row["margin"])
    return "corrected" if not row["low"] <= bound <= row["high"] else "margin" if bound else "zero"


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
                    "ours": claim.ours,
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
