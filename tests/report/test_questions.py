"""Ten questions of readers: their answers, computed from verdicts.csv, are at most two links from the overview."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import PurePosixPath

import pandas as pd
import pytest
from toy_paper import PAPER

from reprood.audit.claims import unit
from reprood.audit.explanations import signed
from reprood.report import labels
from reprood.report.summary import main_claims, result_of

Row = pd.Series
LINKS = 2


def reachable(pages: dict[str, str], links: int) -> dict[str, str]:
    """Return the pages that a number of links from the overview lead to."""
    found = {"index.html"}
    for _ in range(links):
        for name in sorted(found):
            folder = PurePosixPath(name).parent
            for href in re.findall(r'<a [^>]*href="([^"#]+)', pages[name]):
                parts: list[str] = []
                for part in (folder / href).parts:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                if "/".join(parts) in pages:
                    found.add("/".join(parts))
    return {name: pages[name] for name in found}


def words(page: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page)))


def points(row: Row, key: str, digits: int = 1) -> str:
    return signed(row[key] / unit(row["metric"]), digits)


def interval(row: Row) -> str:
    one = unit(row["metric"])
    return labels.signed_interval(row["low"] / one, row["high"] / one, 1)


QUESTIONS: dict[str, Callable[[pd.DataFrame, Row], str]] = {
    "How many of the main claims are decided, and how?": lambda table, _: result_of(table),
    "Does the claim hold here?": lambda _, row: row["verdict"],
    "How strongly?": lambda _, row: f"{points(row, 'effect')} points",
    "Between which values does the effect lie?": lambda _, row: interval(row),
    "At which confidence?": lambda _, row: f"{100 * row['level']:g} % interval",
    "Against which baseline?": lambda *_: "Cross-entropy",
    "How many trainings is that based on?": lambda _, row: labels.plural(int(row["n_seeds"]), "replicate"),
    "How many test images?": lambda _, row: f"{int(row['n']):,} ID test image",
    "Why was it decided so?": lambda _, row: row["reason"][0].upper() + row["reason"][1:],
    "Which paper is it, and what does it claim?": lambda *_: f"What the paper claims. {PAPER.summary}",
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_at_most_two_links_away(pages, folder, question):
    table = pd.read_csv(folder / "verdicts.csv")
    text = " ".join(words(page) for page in reachable(pages, LINKS).values())
    for _, row in main_claims(table).iterrows():
        assert QUESTIONS[question](table, row) in text, row["claim"]


def test_the_forest_leads_to_the_card_of_every_measured_claim(pages, folder):
    table = pd.read_csv(folder / "verdicts.csv")
    for claim in main_claims(table)["claim"]:
        assert f'href="papers/{PAPER.id}.html#claim-{claim}"' in pages["index.html"]
        assert f'id="claim-{claim}"' in pages[f"papers/{PAPER.id}.html"]
