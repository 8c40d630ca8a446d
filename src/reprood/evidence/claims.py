"""The remaining looks of every claim, from the table of verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reprood.audit.papers import Paper
from reprood.audit.projection import Result, probability
from reprood.config.looks import Looks
from reprood.config.suite import Suite
from reprood.evidence.choose import Arm, Look

OPEN = "open"
GIVEN_UP = "given up"
TOO_FEW = "too few replicates"
UNDECIDED = (OPEN, "not run", "baseline not representative")  # and yet counted by Holm's correction
ALPHA = 0.05


def replicates(suite: Suite) -> dict[Arm, int]:
    """Return (benchmark or family, method) -> number of replicates that the suite plans."""
    seeds: dict[Arm, set[int]] = {}
    for benchmark, method, seed in suite.jobs():
        seeds.setdefault((suite.benchmarks[benchmark].family or benchmark, method), set()).add(seed)
    return {arm: len(found) for arm, found in seeds.items()}


def planned(numbers: Mapping[Arm, int], known: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return `known` (the content of replicates.json) with every number raised to that of `numbers`, which may be 0."""
    found = {benchmark: dict(methods) for benchmark, methods in known.items()}
    for (benchmark, method), number in numbers.items():
        if number > found.get(benchmark, {}).get(method, 0):
            found.setdefault(benchmark, {})[method] = number
    return found


def next_looks(table: pd.DataFrame, papers: Sequence[Paper], suite: Suite, looks: Looks) -> list[Look]:
    """Return the remaining looks of every claim that is open and not given up.

    A claim that its next look will hardly decide may still be worth twenty replicates at once: all of its looks are
    candidates. The looks on the way are taken as well.

    Parameters
    ----------
    table : DataFrame
        The verdicts.
    papers : sequence of Paper
    suite : Suite
        With the replicates that have run.
    looks : Looks
        The suite's looks.
    """
    claims = {(paper.id, claim.id): (paper, claim) for paper in papers for claim in paper.claims}
    have = replicates(suite)
    found = []
    for row in table.to_dict("records"):
        paper, claim = claims[row["paper"], row["claim"]]
        if row["verdict"] != OPEN or str(row["reason"]).startswith(GIVEN_UP) or claim.study:
            continue  # decided, not to be decided, or of a study, whose replicates the suite fixes
        ran = {method for name, method in have if name == row["benchmark"]}
        methods = [paper.method_of(side.method, ran) for side in claim.sides]
        arms = tuple(dict.fromkeys((str(row["benchmark"]), method) for method in methods if method is not None))
        reached = sum(n <= min(have[arm] for arm in arms) for n in looks.looks)
        for index in range(reached, len(looks.looks)):
            value = _value(row, table, looks, index)
            if value is None:
                break
            name = f"{paper.id}/{claim.id}"
            found.append(Look(name, arms, index + 1, looks.looks[index], value, bool(row["exploratory"])))
            if value == 1.0:
                break  # before the first look, or decided for certain
    return found


def _value(row: Mapping[Any, Any], table: pd.DataFrame, looks: Looks, index: int) -> float | None:
    """Return the predictive probability of a decision at a later look; 1 for the first one.

    Its level is the share of that look, divided by the claims of the paper's family that are not decided yet, as in
    Holm's correction. None: something else than the number of replicates is in the way, such as a missing score.
    """
    if not index or str(row["reason"]).startswith(TOO_FEW):
        return 1.0
    if pd.isna(row["standard_error"]):
        return None
    main = table[(table["paper"] == row["paper"]) & ~table["exploratory"].astype(bool)]
    waiting = 1 if row["exploratory"] else max(1, int(main["verdict"].isin(UNDECIDED).sum()))
    result = Result(
        estimate=float(row["effect"]),
        standard_error=float(row["standard_error"]),
        freedom=float(row["freedom"]),
        replicates=int(row["n_seeds"]),
        kind=str(row["kind"]),
        better=str(row["better"]),
        margin=float(row["margin"]),
        relevant=0.0 if pd.isna(row["relevant"]) else float(row["relevant"]),
        sample_error=float(row["sample_error"]),
        sample_freedom=float(row["sample_freedom"]),
    )
    return probability(result, looks.looks[index], 1 - ALPHA * looks.weights[index] / waiting)


def outcomes(table: pd.DataFrame) -> pd.Series:
    """Return how many main claims have each verdict; those that are given up are counted apart."""
    main = table[~table["exploratory"].astype(bool)].drop_duplicates(["paper", "claim"])
    given_up = main["reason"].astype(str).str.startswith(GIVEN_UP)
    return main["verdict"].mask(given_up & main["verdict"].eq(OPEN), f"{OPEN}, given up").value_counts()
