"""The sides of a claim on a benchmark, and how they differ from the published settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reprood.audit.claims import OPEN_SET, Claim
from reprood.audit.papers import Paper
from reprood.audit.settings import Difference, Measurement, closest
from reprood.evaluate.metrics import METRICS
from reprood.evaluate.table import members


@dataclass(frozen=True)
class Part:
    """One side of a claim on one benchmark: a method and a score.

    Attributes
    ----------
    method, score : str
        The score is "-" for classification metrics; a trailing "*" means the best of several in hindsight.
    split : str
        Split on which this side is measured, if it differs from the claim's.
    ensemble : bool
        The score is the mean over the seeds' scores.
    """

    method: str
    score: str
    split: str = ""
    ensemble: bool = False

    @property
    def label(self) -> str:
        """Method, score and split as one text."""
        how = "ensemble of seeds" if self.ensemble else ""
        inner = ", ".join(part for part in (self.score.replace("-", ""), self.split, how) if part)
        return f"{self.method} ({inner})" if inner else self.method


def parts_of(claim: Claim, paper: Paper, ran: Mapping[str, object]) -> list[Part] | None:
    """Return the claim's sides as methods of a benchmark; None if an arm did not run there."""
    if claim.study:
        return [Part(side.method, "-") for side in claim.sides] if all(s.method in ran for s in claim.sides) else None
    found = [(paper.method_of(side.method, ran), side) for side in claim.sides]
    parts = [Part(method, side.score, side.split, side.ensemble) for method, side in found if method is not None]
    return parts if len(parts) == len(found) else None


def detects(claim: Claim) -> bool:
    """Return whether a claim is about the separation of ID and OOD images, so that the OOD sets matter."""
    return claim.metric in (*METRICS, *OPEN_SET)


def claim_differences(claim: Claim, paper: Paper, sides: Sequence[tuple[Part, Measurement]]) -> list[Difference]:
    """Return how the sides of a claim differ from the most similar of the claim's settings.

    Parameters
    ----------
    claim : Claim
        With the split on which it is judged.
    paper : Paper
        For the auxiliary sets of its arms.
    sides : sequence of (Part, Measurement)
        The claim's sides on one benchmark.
    """
    auxiliary = tuple(dict.fromkeys(name for side in claim.sides if (name := paper.arms[side.method].auxiliary)))
    found: list[Difference] = []
    for part, measured in sides:
        split = (part.split or claim.split) if detects(claim) else ""
        found += closest(claim.where, replace(measured, auxiliary=auxiliary), split, claim.metric)
    return list(dict.fromkeys(found))


def number_differences(claim: Claim, paper: Paper, sides: Sequence[tuple[Part, Measurement]]) -> list[Difference]:
    """Return how the sides of a claim differ from the settings of the claim's published numbers."""
    found: list[Difference] = []
    for name, side, (part, measured) in zip(claim.published, claim.sides, sides, strict=False):
        number, auxiliary = paper.number(name), paper.arms[side.method].auxiliary
        here, split = part.split or claim.split, paper.split_on(number, measured.benchmark)
        one = replace(measured, auxiliary=(auxiliary,) if auxiliary else ())
        found += paper.compared(number, one, here if detects(claim) else "")
        if number.score != "-" and members(measured.benchmark, split) != members(measured.benchmark, here):
            found.append(Difference("ood", f"judged on {here}, published for {split}"))
    return list(dict.fromkeys(found))
