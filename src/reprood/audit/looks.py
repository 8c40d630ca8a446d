"""Judge a claim at every look that its replicates reach, and correct the main claims of a paper together.

p is the smallest p_k / w_k over the looks, cut at 1; then Holm's correction. A verdict is decided when the corrected p
is at most 5 %. "Smaller than relevant" is decided when the interval of a look lies inside the relevant effect at
Bonferroni's level; `decide.holm` shows why both together stay at 5 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reprood.audit.claims import Claim
from reprood.audit.comparisons import Finding, Piece, find
from reprood.audit.decide import LEVEL, holm
from reprood.audit.papers import Paper
from reprood.audit.projection import Result, projected_p
from reprood.config.looks import Look, Looks


@dataclass(frozen=True)
class Judged:
    """A claim's findings at the looks that were reached, in order.

    Attributes
    ----------
    looks : tuple of Look
    findings : tuple of Finding
    relevant : bool
        Whether the claim states a relevant effect, so that "smaller than relevant" is tested.
    """

    looks: tuple[Look, ...]
    findings: tuple[Finding, ...]
    relevant: bool = False

    def _over_looks(self, p: Sequence[float]) -> tuple[float, int]:
        """Return p over all looks, and the place of the look that gives it; of the last if p is not below 5 %."""
        parts = [value / look.weight for value, look in zip(p, self.looks, strict=True)]
        smallest = min(range(len(parts)), key=lambda i: parts[i])
        overall = min(1.0, parts[smallest])
        return overall, smallest if overall < 1 - LEVEL else len(parts) - 1

    @property
    def p(self) -> float:
        """Two-sided p value of a decision, in [0, 1]."""
        return self._over_looks([one.p for one in self.findings])[0]

    @property
    def p_smaller(self) -> float:
        """The same for "smaller than relevant"; 1 if no relevant effect is stated."""
        return self._over_looks([one.p_smaller for one in self.findings])[0]

    def reported(self, *, smaller: bool = False) -> tuple[Look, Finding]:
        """Return the look that is reported: the one that decides, else the last."""
        p = [one.p_smaller if smaller else one.p for one in self.findings]
        place = self._over_looks(p)[1]
        return self.looks[place], self.findings[place]


@dataclass(frozen=True)
class Outcome:
    """What the corrected p values of a claim say.

    Attributes
    ----------
    decided : bool
        Supported or contradicted, as the reported finding says.
    smaller : bool
        Not decided, and smaller than relevant.
    p : float
        The corrected p value of a decision.
    """

    decided: bool
    smaller: bool
    p: float


def stages(looks: Looks | None, replicates: int, *, fixed: bool) -> tuple[Look, ...]:
    """Return the looks that are reached; one look at everything in a suite without looks.

    A study (`fixed`), whose number of replicates is fixed in the suite and never grows with the results, is judged once
    as well if it has fewer than the first look.
    """
    reached = looks.reached(replicates) if looks is not None else ()
    alone = looks is None or (fixed and not reached)
    return (Look(0, replicates, 1.0),) if alone else reached


def judge_at(
    claim: Claim, paper: Paper, pieces: Sequence[Piece], seeds: Sequence[int], looks: Sequence[Look]
) -> Judged | None:
    """Judge a claim at looks, each with exactly its first replicates; None if no look has enough.

    A pattern of signs over the members of a family needs `min_seeds` replicates on every member.
    """
    found = []
    for look in looks:
        some = [piece.only(seeds[: look.replicates]) for piece in pieces]
        if claim.over != "members" or min(len(piece.seeds) for piece in some) >= claim.min_seeds:
            found.append((look, find(claim, paper, some, look.level)))
    if not found:
        return None
    return Judged(tuple(look for look, _ in found), tuple(one for _, one in found), claim.relevant > 0)


def correct(family: Sequence[Judged | None]) -> list[Outcome]:
    """Return the outcomes of the main claims of a paper; None counts with p = 1 (not run, given up, gated).

    The claims are fixed before the first run, so that their number does not depend on results.
    """
    beside = sum(one is not None and one.relevant for one in family)
    adjusted = holm([1.0 if one is None else one.p for one in family], beside)
    outcomes = []
    for one, p in zip(family, adjusted, strict=True):
        decided = one is not None and p < 1 - LEVEL
        smaller = one is not None and not decided and len(family) * one.p_smaller < 1 - LEVEL
        outcomes.append(Outcome(decided, smaller, p))
    return outcomes


def given_up(claim: Claim, judged: Judged, looks: Looks) -> str:
    """Return why an undecided claim is given up before the last look; empty if it is not.

    It is given up when the last look's replicates, with the present effect and variance, would leave p above
    `futility`, both for a decision and for "smaller than relevant".
    """
    now, finding = judged.looks[-1], judged.findings[-1]
    last = looks.looks[-1]
    if now.replicates >= last or claim.kind == "equals":
        return ""
    interval = finding.interval
    result = Result(
        interval.estimate, interval.standard_error, interval.freedom, now.replicates, claim.kind,
        finding.better or claim.better, claim.margin, claim.relevant, interval.sample_error, interval.sample_freedom,
    )  # fmt: skip
    decided, smaller = projected_p(result, last)
    if min(decided, smaller) <= looks.futility:
        return ""
    return f"given up: even {last} replicates would probably not decide it"
