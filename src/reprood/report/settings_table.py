"""How the setting of a measurement differs from the published one, as rows: what, here, in the paper."""

import re
from collections.abc import Iterable, Mapping

Row = tuple[str, str, str]
NAMED: dict[str, str] = {  # how clauses of `reprood.audit.settings` begin -> what they are about
    r"trained on (?P<here>.+), published for (?P<paper>.+)": "training data",
    r"tested on (?P<here>.+), published for (?P<paper>.+)": "test data",
    r"measured on (?P<here>.+), published as (?P<paper>.+)": "members",
    r"(?P<here>.+) in place of (?P<paper>.+)": "substituted data",
    r"published for the network (?P<paper>.+)": "network",
    r"published with the OOD sets (?P<paper>.+) as well": "OOD sets",
    r"published without the OOD sets (?P<here>.+)": "OOD sets",
    r"the (?P<here>first [\d,]+ images of .+), published with (?P<paper>all)": "OOD images",
    r"(?P<here>\d+) unknown classes, published with (?P<paper>.+)": "unknown classes",
    r"base rate of the AUPR: (?P<here>.+), published (?P<paper>.+)": "base rate of the AUPR",
    r"auxiliary images of (?P<here>.+), published with (?P<paper>.+)": "auxiliary images",
    r"trained in (?P<here>.+), published in (?P<paper>.+)": "precision",
    r"here (?P<here>of .+), published (?P<paper>of .+)": "network's weights",
    r"(?P<here>.+) training images, published with (?P<paper>.+)": "training images",
    r"judged on (?P<here>.+), published for (?P<paper>.+)": "OOD sets",
}


def settings_rows(differences: str, titles: Mapping[str, str], network: str = "") -> list[Row]:
    """Return the differences of a verdict as rows; those of one kind are joined.

    Parameters
    ----------
    differences : str
        Column of verdicts.csv.
    titles : mapping
        Data set or benchmark -> title.
    network : str
        The network that was trained.

    Examples
    --------
    >>> text = "trained on digits, published for cifar10; published without the OOD sets a/test, a/test"
    >>> settings_rows(text, {"digits": "Ten digits"})
    [('training data', 'Ten digits', 'cifar10'), ('OOD sets', 'a', '–')]
    """
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for clause in filter(None, differences.split("; ")):
        what, here, paper = _row(clause, network)
        sides = found.setdefault(what, ({}, {}))
        for side, text in zip(sides, (here, paper), strict=True):
            side.update(dict.fromkeys(named(text, titles)))
    return [(what, _joined(here), _joined(paper)) for what, (here, paper) in found.items()]


def _row(clause: str, network: str) -> Row:
    for form, what in NAMED.items():
        if match := re.fullmatch(form, clause):
            parts = match.groupdict(default="")
            return what, parts.get("here", network if what == "network" else ""), parts.get("paper", "")
    return "other", clause, ""


def named(text: str, titles: Mapping[str, str]) -> list[str]:
    """Return the parts of a list with titles in place of names, and without names of splits."""
    if text.replace(",", "").isdigit():
        return [text]
    parts = [part for part in text.split(", ") if part]
    return [re.sub(r"[a-z][a-z0-9_]*(/[a-z0-9_]+)?", lambda name: _title(name[0], titles), part) for part in parts]


def _title(name: str, titles: Mapping[str, str]) -> str:
    plain = name.partition("/")[0]
    return titles.get(name) or titles.get(plain) or plain.replace("_", " ")


def _joined(names: Iterable[str]) -> str:
    return "; ".join(names) or "–"
