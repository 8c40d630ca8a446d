"""What the claims of papers need of a suite: runs and studies, from the configuration alone. Reads no results."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reprood.audit.cases import PAPER
from reprood.audit.claims import Claim
from reprood.audit.evidence import BenchmarkEvidence
from reprood.audit.papers import Paper
from reprood.audit.parts import Part, parts_of
from reprood.config.suite import Suite


@dataclass(frozen=True)
class Place:
    """A benchmark or family that runs, as far as claims ask for it.

    Attributes
    ----------
    members : tuple of BenchmarkEvidence
        The benchmark, or those of the family's members that run.
    methods : tuple of str
        Those that run there, in order.
    family : bool
    """

    members: tuple[BenchmarkEvidence, ...]
    methods: tuple[str, ...]
    family: bool

    def measures(self, claim: Claim) -> bool:
        """Return whether a claim, with the split on which it is judged, is measured here, on every member."""
        return all(one.measures(claim) for one in self.members) and (self.family or claim.over != "members")


def places_of(suite: Suite) -> dict[str, Place]:
    """Return the benchmarks and families that run, in the order of the runs."""
    families = suite.families()
    ran: dict[str, dict[str, list[int]]] = {}
    for place, method, seed in suite.replicated():
        ran.setdefault(place, {}).setdefault(method, []).append(seed)
    return {
        name: Place(
            tuple(
                BenchmarkEvidence(Path(), name, suite.benchmarks[one], seeds, suite.folders, suite.substitutes)
                for one in families.get(name, (name,))
            ),
            tuple(seeds),
            name in families,
        )
        for name, seeds in ran.items()
    }


@dataclass
class Use:
    """What main claims read of a run, besides its records and history.

    Attributes
    ----------
    scores : set of str
        Names as in the claims: with a trailing "*" all scores that begin so.
    exact : set of str
        Those of which a claim averages the values over seeds.
    metrics : set of str
        Empty: no claim that this suite can judge compares the run; its records are read for the settings alone.
    """

    scores: set[str] = field(default_factory=set)
    exact: set[str] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)


def judged_on(claim: Claim, paper: Paper, places: Mapping[str, Place], scale: str) -> dict[str, list[str]]:
    """Return the benchmarks and families on which a claim can be judged -> the methods of its sides.

    A published value (`equals`) is judged at the papers' scale only.
    """
    if not _judgeable(claim, scale):
        return {}
    return {name: [part.method for part in parts] for name, parts in _measured(claim, paper, places)}


def _judgeable(claim: Claim, scale: str) -> bool:
    return not claim.study and (claim.kind != "equals" or scale == PAPER)


def _measured(claim: Claim, paper: Paper, places: Mapping[str, Place]) -> Iterator[tuple[str, list[Part]]]:
    """Yield the benchmarks and families that measure a claim, with its sides there."""
    for name, place in places.items():
        here = place.members[0].on_split(claim)
        parts = parts_of(here, paper, dict.fromkeys(place.methods))
        if parts is not None and place.measures(here):
            yield name, parts


def compared(papers: Sequence[Paper], suite: Suite) -> dict[tuple[str, str, int], Use]:
    """Return what main claims read of runs, by benchmark or family, method and seed, without runs that none reads.

    A claim reads the replicates that all its sides have.
    """
    places = places_of(suite)
    seeds: dict[tuple[str, str], set[int]] = {}
    for name, method, seed in suite.replicated():
        seeds.setdefault((name, method), set()).add(seed)
    found: dict[tuple[str, str, int], Use] = {}
    main = ((one, claim) for one in papers for claim in one.claims if not claim.study and not claim.exploratory)
    for paper, claim in main:
        for name, parts in _measured(claim, paper, places):
            shared = set.intersection(*(seeds[name, part.method] for part in parts))
            for part, seed in ((one, seed) for one in parts for seed in seeds[name, one.method]):
                use = found.setdefault((name, part.method, seed), Use())
                if seed in shared and _judgeable(claim, suite.scale):
                    use.metrics.add(claim.metric)
                    use.scores.update({part.score} - {"-"})
                    use.exact.update({part.score} if part.ensemble else ())
    return found


def needed_by_main_claims(papers: Sequence[Paper], suite: Suite) -> tuple[set[tuple[str, str]], set[str]]:
    """Return (benchmark or family, method) of the runs that the main claims need where they count, and the studies."""
    places = places_of(suite)
    where = counting(papers, suite, suite.judge) | suite.judge
    arms: set[tuple[str, str]] = set()
    studies: set[str] = set()
    for paper, claim in ((one, claim) for one in papers for claim in one.claims if not claim.exploratory):
        name = where.get(f"{paper.id}/{claim.id}", "")
        arms.update((name, method) for method in judged_on(claim, paper, places, suite.scale).get(name, ()))
        studies.update(name for name, study in suite.studies.items() if claim.study == study.use)
    return arms | _trained_for(studies, suite), studies


def needed(papers: Sequence[Paper], suite: Suite) -> tuple[set[tuple[str, str]], set[str]]:
    """Return what papers need: (benchmark or family, method) of the runs, and the names of the studies.

    Runs are needed by a claim that is judged on them or by a study; at the papers' scale also by a published number,
    which is shown next to ours.
    """
    places = places_of(suite)
    arms: set[tuple[str, str]] = set()
    studies: set[str] = set()
    for paper in papers:
        for claim in paper.claims:
            for name, methods in judged_on(claim, paper, places, suite.scale).items():
                arms.update((name, method) for method in methods)
            studies.update(name for name, study in suite.studies.items() if claim.study == study.use)
        shown = {number.measured_by for number in paper.published if number.measured_by and suite.scale == PAPER}
        for name, place in places.items():
            ran = (paper.method_of(arm, place.methods) for arm in shown)
            arms.update((name, method) for method in ran if method is not None)
    return arms | _trained_for(studies, suite), studies


def _trained_for(studies: Collection[str], suite: Suite) -> set[tuple[str, str]]:
    """Return the runs, as (benchmark or family, method), that studies read."""
    arms: set[tuple[str, str]] = set()
    for name in studies:
        study = suite.studies[name]
        record = suite.benchmarks.get(study.benchmark)
        arms.update(((record and record.family) or study.benchmark, method) for method in study.methods)
    return arms


def counting(papers: Sequence[Paper], suite: Suite, known: Collection[str]) -> dict[str, str]:
    """Return the benchmark or family on which each claim counts, by "paper/claim", unless it is in `known`.

    It is the first that can judge the claim. Claims that none can judge are left out.
    """
    places = places_of(suite)
    found = {}
    for paper in papers:
        for claim in paper.claims:
            where = judged_on(claim, paper, places, suite.scale)
            if where and f"{paper.id}/{claim.id}" not in known:
                found[f"{paper.id}/{claim.id}"] = next(iter(where))
    return found
