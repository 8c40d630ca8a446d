"""`reprood check`: how the sides of each claim of a suite differ, and how they differ from the published setting."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from reprood.audit.claims import Claim
from reprood.audit.evidence import BenchmarkEvidence
from reprood.audit.papers import Paper, load_papers
from reprood.audit.parts import Part, claim_differences, number_differences, parts_of
from reprood.audit.recipes import Change, Recipe, changes, undeclared
from reprood.audit.settings import Measurement, texts
from reprood.pipeline.layout import Layout

Settings = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """A claim on one benchmark or family: what differs between its sides, and from the published setting.

    Attributes
    ----------
    claim : str
        `<paper>/<claim>`.
    benchmark : str
        Name of the benchmark or the family.
    recipe : tuple of Change
        Every setting that differs between two compared sides.
    undeclared : tuple of Change
        Those that the claim must declare under `differs` and does not.
    published : str
        Differences from the published setting, of the numbers if the claim names some; "" if there are none.
    described : bool
        Whether a published setting is known.
    """

    claim: str
    benchmark: str
    recipe: tuple[Change, ...]
    undeclared: tuple[Change, ...]
    published: str
    described: bool

    def clauses(self) -> Iterator[str]:
        """Yield one text for each kind of difference; undeclared differences first."""
        if self.undeclared:
            yield f"undeclared differences: {', '.join(map(str, self.undeclared))}"
        declared = [one for one in self.recipe if one.shared and one not in self.undeclared]
        if declared:
            yield f"declared differences: {', '.join(map(str, declared))}"
        about = ", ".join(dict.fromkeys(one.name for one in self.recipe if not one.shared))
        if about:
            yield f"compares: {about}"
        published = self.published or ("no difference" if self.described else "none is described")
        yield f"from the published setting: {published}"


def listing(comparisons: Sequence[Comparison], *, verbose: bool) -> list[str]:
    """Return the lines of a report on the claims of a suite, by paper; one line in total unless `verbose`."""
    undeclared = sum(bool(one.undeclared) for one in comparisons)
    declared = sum(any(change.shared for change in one.recipe) for one in comparisons) - undeclared
    here = sum(one.described and not one.published for one in comparisons)
    total = (
        f"{len(comparisons)} comparisons of {len({one.claim for one in comparisons})} claims: recipes equal or as the "
        f"claim says in all but {undeclared}, with declared differences in {declared}; {here} in the published setting"
    )
    if not verbose:
        return [f"{total}. List the differences with --verbose."]
    lines = []
    for paper, group in groupby(comparisons, key=lambda one: one.claim.partition("/")[0]):
        lines += ["", paper]
        for one in group:
            lines.append(f"  {one.claim.partition('/')[2]} on {one.benchmark}")
            lines += [f"    {clause}" for clause in one.clauses()]
    return [*lines, "", f"{total}."]


def compare_claims(plan: Layout, settings: Settings, papers: Path | None = None) -> list[Comparison]:
    """Compare the sides of every claim that the suite can judge, on each of its benchmarks and families.

    Parameters
    ----------
    plan : Layout
        The suite.
    settings : mapping
        (benchmark, method) -> all settings of the method, with defaults resolved.
    papers : Path, optional
        Folder of the papers' files; default `config/papers` of the checkout.
    """
    folder = papers or plan.root / "config" / "papers"
    found = []
    for paper in load_papers(sorted(folder.glob("*.yaml"))):
        for claim in (claim for claim in paper.claims if not claim.study):
            compared = (_compare(plan, settings, paper, claim, place) for place in plan.places)
            found += [one for one in compared if one is not None]
    return found


def _compare(plan: Layout, settings: Settings, paper: Paper, claim: Claim, place: str) -> Comparison | None:
    """Compare the sides of a claim on one benchmark or family; None if it cannot be judged there."""
    name = plan.first_member(place)  # all members of a family have the same settings
    benchmark = plan.benchmark(name)
    seeds: dict[str, list[int]] = {}
    for _, method, seed in plan.jobs_of(place):
        seeds.setdefault(method, []).append(seed)
    evidence = BenchmarkEvidence(plan.root, name, benchmark, seeds, plan.folders, plan.suite.substitutes)
    here = evidence.on_split(claim)
    parts = parts_of(here, paper, seeds) if evidence.measures(here) else None
    if parts is None:
        return None

    def recipe(part: Part) -> Recipe:
        run = plan.run_settings(name, part.method)
        own = settings[name, part.method]
        return Recipe(part.method, run["use"], own, run["backbone"], run["precision"], tuple(seeds[part.method]))

    if any(plan.is_external(part.method) for part in parts):
        return None  # the recipe of given outputs is not known
    recipes = [recipe(part) for part in parts]
    differing: list[Change] = []
    for first, second in pairwise(recipes):
        differing += [change for change in changes(first, second) if change not in differing]
    precision = plan.suite.precision
    sides = [
        (part, Measurement(benchmark, one.backbone, precision, substitutes=plan.suite.substitutes))
        for part, one in zip(parts, recipes, strict=True)
    ]
    compared = number_differences if claim.published else claim_differences
    return Comparison(
        f"{paper.id}/{claim.id}",
        place,
        tuple(differing),
        tuple(undeclared(differing, claim.differs)),
        texts(compared(here, paper, sides)),
        bool(claim.published or claim.where),
    )
