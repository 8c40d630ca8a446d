"""How readers find their way: menus, a table of contents on long pages, and the index that the search box reads."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

HEADING = re.compile(r"<h2(?P<attributes>[^>]*)>(?P<text>.*?)</h2>", re.DOTALL)
ID = re.compile(r' id="([^"]*)"')
TAG = re.compile(r"<[^>]*>")
STACKED = 40  # columns for which report.css has rules
MANY = 4  # headings from which a page has a table of contents
ABOUT = (
    ("data.html", "Data and licences"),
    ("environment.html", "Environment"),
    ("conventions.html", "Conventions and glossary"),
    ("defects.html", "Known defects"),
)

Links = list[tuple[str, str]]


def menus(
    papers: Sequence[Any], benchmarks: Sequence[Mapping[str, Any]], studies: Sequence[Mapping[str, Any]]
) -> dict[str, Links]:
    """Return the links (page, text) of each menu, for the templates."""
    return {
        "papers_menu": [(f"papers/{paper.id}.html", paper.short) for paper in papers],
        "benchmarks_menu": [(f"benchmarks/{one['name']}.html", one["record"].title) for one in benchmarks],
        "studies_menu": [(f"studies/{one['name']}.html", one["record"].title) for one in studies],
        "about_menu": list(ABOUT),
    }


def titled(head: str, titles: Mapping[str, str]) -> str:
    """Return a head of a table with the title of the benchmark that it names.

    Examples
    --------
    >>> titled("measured on pets (mean of 2)", {"pets": "Cats and dogs"})
    'measured on Cats and dogs (mean of 2)'
    """
    return re.sub(r"(?<=^measured on )\w+", lambda name: titles.get(name[0], name[0]), head)


def uses_of(judged: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return, for each page of a benchmark or study, the papers with claims on it and links to these claims.

    Parameters
    ----------
    judged : sequence of mapping
        Records of the papers' pages.

    Returns
    -------
    dict
        Page -> list of: paper (short name), page, claims (list of statement, verdict, page).
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for item in judged:
        paper = item["paper"]
        page = f"papers/{paper.id}.html"
        anchors = {claim["id"]: claim["anchor"] for claim in item["claims"] if claim["anchor"]}
        for claim in item["claims"]:
            if not claim["benchmark"]:
                continue
            entries = found.setdefault(claim["page"], [])
            if not entries or entries[-1]["page"] != page:
                entries.append({"paper": paper.short, "page": page, "claims": []})
            entries[-1]["claims"].append(
                {
                    "statement": claim["statement"],
                    "verdict": claim["verdict"],
                    "page": f"{page}#{anchors[claim['id']]}",
                }
            )
    return found


def stacked(heads: Sequence[str]) -> str:
    r"""Return the style of a table whose rows are lists on a phone: the head that precedes each cell but the first.

    It is empty for a table of too many columns, which scrolls sideways instead.

    Examples
    --------
    >>> stacked(["method", "AUROC, %", "the 'best'"])
    "--h2:'AUROC, %';--h3:'the \\'best\\''"
    """
    if len(heads) > STACKED:
        return ""
    texts = (re.sub(r"([\\'])", r"\\\1", " ".join(head.split())) for head in heads[1:])
    return ";".join(f"--h{place}:'{text}'" for place, text in enumerate(texts, start=2))


def anchored(page: str) -> tuple[str, Links]:
    """Give every second-level heading of a page an id, and return the page with the list of (id, text).

    Examples
    --------
    >>> anchored("<h2>The <a>data</a></h2>")
    ('<h2 id="the-data">The <a>data</a></h2>', [('the-data', 'The data')])
    """
    found: Links = []

    def give(heading: re.Match[str]) -> str:
        text = html.unescape(TAG.sub("", heading["text"])).strip()
        stated = ID.search(heading["attributes"])
        name = stated[1] if stated else re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        taken = {one for one, _ in found}
        numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
        name = name if name not in taken else next(one for one in numbered if one not in taken)
        found.append((name, text))
        return heading[0] if stated else f'<h2 id="{name}"{heading["attributes"]}>{heading["text"]}</h2>'

    return HEADING.sub(give, page), found


def with_contents(page: str, place: str = "<!-- contents -->") -> str:
    """Return a page whose headings have ids and which, if it has many, lists them at `place`."""
    page, found = anchored(page)
    items = "".join(f'<li><a href="#{name}">{html.escape(text)}</a></li>' for name, text in found)
    contents = f'<nav class="contents" aria-label="On this page"><ul>{items}</ul></nav>' if len(found) >= MANY else ""
    return page.replace(place, contents)


def search_index(judged: Sequence[Mapping[str, Any]], benchmarks: Sequence[Mapping[str, Any]], links: Links) -> str:
    """Return the script with what the search box searches: claims, papers, benchmarks and their methods, pages.

    Parameters
    ----------
    judged : sequence of mapping
        Records of the papers' pages.
    benchmarks : sequence of mapping
        Records of the benchmarks' pages.
    links : list of (str, str)
        Further pages.
    """
    entries = [{"kind": "page", "text": text, "page": page} for page, text in links]
    for item in judged:
        paper = item["paper"]
        page = f"papers/{paper.id}.html"
        entries.append({"kind": "paper", "text": f"{paper.short}: {paper.title}", "page": page})
        for claim in item["claims"]:
            if claim["anchor"]:
                text = f"{paper.short}: {claim['statement']} ({claim['verdict']})"
                entries.append({"kind": "claim", "text": text, "page": f"{page}#{claim['anchor']}"})
    for item in benchmarks:
        page = f"benchmarks/{item['name']}.html"
        entries.append({"kind": "benchmark", "text": item["record"].title, "page": page})
        for method in item["methods"]:
            entries.append(
                {"kind": "method", "text": f"{method} on {item['record'].title}", "page": f"{page}#leaderboard"}
            )
    return f"window.reproodIndex = {json.dumps(entries, ensure_ascii=False, indent=0)};\n"
