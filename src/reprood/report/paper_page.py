"""The content of a paper's page: claims with verdicts, published numbers, curves, samples and provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reprood.audit.cases import NOT_JUDGED, NOT_RUN, VERDICTS
from reprood.audit.papers import Paper
from reprood.config.selection import MARK, ONLY_MAIN
from reprood.config.suite import Suite
from reprood.report import labels
from reprood.report.claims import axis_end, by_importance, importance, shown
from reprood.report.contents import FIGURES
from reprood.report.formats import Cell, Table
from reprood.report.published import comparable, effects, published
from reprood.report.results import BenchmarkResults
from reprood.report.studies.registry import words
from reprood.report.summary import decided_share, paper_sentences

SECTIONS = {  # of claims on the page -> heading, and what it says about them
    "main": ("Main claims", ""),
    "exploratory": (
        "Exploratory claims",
        "Not main claims, or not on the benchmark on which they count. Not corrected for multiple testing.",
    ),
    "published": ("Published values", ""),
}
SAMPLES = [one.name for one in FIGURES if one.images and one.name != "examples"]


def paper_page(
    paper: Paper,
    verdicts: pd.DataFrame,
    suite: Suite,
    results: Sequence[BenchmarkResults],
    benchmarks: Sequence[Mapping[str, Any]],
    studies: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Collect what the template of a paper's page needs.

    `benchmarks` and `studies` are the records of their pages, `titles` those of data sets by name.
    """
    claims = {claim.id: claim for claim in paper.claims}
    rows = verdicts[verdicts["paper"] == paper.id]
    used = {claim.study for claim in paper.claims if claim.study}
    measured = rows[~rows["verdict"].isin([NOT_JUDGED, NOT_RUN])]
    judged = set(measured["benchmark"])
    main = set(measured.loc[~measured["exploratory"].astype(bool), "benchmark"])
    # Those of main claims first: their pictures show what the paper does.
    where = sorted((one for one in results if one.name in judged), key=lambda one: one.name not in main)
    records = {item["name"]: item for item in benchmarks}
    chosen = [records[one.name] for one in where]
    pictures = [picture for item in chosen if (picture := _examples(paper, item))]
    samples = [{"benchmark": p["benchmark"], "title": p["of"], "figure": p} for p in pictures[1:]]
    numbers = published(paper, results)
    end = axis_end(row for row in rows.to_dict("records") if not claims[row["claim"]].study)
    cards = [
        shown(row, claims[row["claim"]], paper, suite, end, records, words(claims[row["claim"]].study), titles)
        for row in ordered(rows).to_dict("records")
    ]
    for place, card in enumerate(cards):  # a claim that is judged on several benchmarks has one anchor, its first card
        card["anchor"] = "" if any(card["id"] == other["id"] for other in cards[:place]) else f"claim-{card['id']}"
    return {
        "paper": paper,
        "counts": by_importance(rows),
        "sentences": paper_sentences(paper, rows, command(paper, suite)),
        "decided": decided_share(rows),
        "claims": cards,
        "sections": [
            (name, *SECTIONS[name], found)
            for name in SECTIONS
            if (found := [card for card in cards if card["section"] == name])
        ],
        "published": numbers,
        "comparable": comparable(numbers),
        "effects": effects(paper, [dict(row) for _, row in rows.iterrows()]),
        "unverified": sum(not number.verified for number in paper.published),
        "studies": [study for study in studies if study["record"].use in used],
        "benchmarks": [(one.name, one.benchmark.title) for one in where],
        "datasets": {source.dataset for one in where for source in one.benchmark.splits().values()},
        "picture": pictures[0] if pictures else None,
        "curves": _figures(chosen, ("curves",)),
        "samples": samples + _figures(chosen, SAMPLES),
        "provenance": provenance(paper, where, records),
    }


def command(paper: Paper, suite: Suite) -> str:
    """Return what runs all claims of a paper, if this is a selection without some main claims; else an empty text."""
    name = suite.name.partition(MARK)[0]
    part = suite.selection not in ("", ONLY_MAIN)
    return f"snakemake --cores all --config suite={name} paper={paper.id}" if part else ""


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts of main claims, of exploratory ones, of published values; in each decided ones first."""
    sections = [list(SECTIONS).index(importance(row)) for row in rows.to_dict("records")]
    order = rows["verdict"].map(VERDICTS.index).astype(int) + len(VERDICTS) * pd.Series(sections, rows.index, dtype=int)
    return rows.loc[order.sort_values(kind="stable").index]


def _examples(paper: Paper, item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the figure of training images of a benchmark with the paper's methods named; None if it shows none."""
    names = {name for arm, record in paper.arms.items() for name in (arm, *record.also)}
    own = [run["label"] for run in item["runs"] if run["method"] in names]
    figure = next((one for one in item["figures"] if one["kind"] == "examples"), None)
    drawn = [label for label in dict.fromkeys(own) if figure and label in item["illustrated"]]
    if figure is None or not drawn:
        return None
    title = item["record"].title
    caption = f"{title}: {figure['caption'][0].lower()}{figure['caption'][1:]} Of this paper: {'; '.join(drawn)}."
    return {**figure, "caption": caption, "benchmark": item["name"], "of": title}


def _figures(benchmarks: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"benchmark": item["name"], "title": item["record"].title, "figure": figure}
        for item in benchmarks
        for figure in item["figures"]
        if figure["kind"] in kinds
    ]


def provenance(
    paper: Paper, results: Sequence[BenchmarkResults], records: Mapping[str, Mapping[str, Any]]
) -> Table | None:
    """Make the table of the trainings behind a paper's claims, one row per benchmark and method; None without any."""
    names = {name for arm, record in paper.arms.items() for name in (arm, *record.also)}
    rows = []
    for one in results:
        for method in (method for method in one.methods if method in names):
            runs = [run for run in records[one.name]["runs"] if run["method"] == method]
            seconds = sum(run["seconds"] for run in runs)
            rows.append(
                (
                    Cell(one.label(method)),
                    Cell(one.name),
                    Cell(", ".join(str(run["seed"]) for run in runs)),
                    Cell(runs[0]["network"]),
                    Cell(f"{runs[0]['parameters']:,}", "", float(runs[0]["parameters"])),
                    Cell(f"{runs[0]['images']:,}", "", float(runs[0]["images"])),
                    Cell(", ".join(dict.fromkeys(f"{run['device']}, {run['precision']}" for run in runs))),
                    Cell(labels.number(seconds), "", float(seconds)),
                    Cell(" ".join(run["data"] for run in runs[:1])),
                    Cell(" ".join(run["predictions"] for run in runs)),
                )
            )
    head = (
        "method", "benchmark", "seeds", "network", "parameters", "images seen", "device, precision", "seconds",
        "training data", "predictions",
    )  # fmt: skip
    caption = (
        "Trainings behind the verdicts. Seconds are summed over seeds. Hashes (the first 12 digits of SHA-256) are of "
        "the training data and of each seed's predictions. Settings, versions and files of every run are on the pages "
        "of the benchmarks."
    )
    return Table("provenance", caption, head, tuple(rows)) if rows else None
