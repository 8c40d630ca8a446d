"""The evidence of a family of benchmarks: every pair of member and seed is a replicate."""

from collections.abc import Sequence

import numpy as np

from reprood.audit.evidence import BenchmarkEvidence, Part
from reprood.audit.papers import Claim, Paper
from reprood.audit.settings import Difference
from reprood.evaluate.resample import Replicates


class FamilyEvidence:
    """Benchmarks of one family (one class or one split of classes each); each (member, seed) is a replicate.

    Sides are paired by member, because members differ in difficulty far more than seeds do.

    Parameters
    ----------
    name : str
        The family.
    members : sequence of BenchmarkEvidence
    """

    def __init__(self, name: str, members: Sequence[BenchmarkEvidence]) -> None:
        self.name, self.parts = name, tuple(members)
        common = set.intersection(*(set(member.seeds) for member in members))
        self.seeds: dict[str, tuple[str, ...]] = {
            method: tuple(f"{member.name}/{seed}" for member in members for seed in member.seeds[method])
            for method in members[0].seeds
            if method in common
        }

    def measures(self, claim: Claim) -> bool:
        """Return whether every member measured it."""
        return all(member.measures(claim) for member in self.parts)

    def obstacle(self, claim: Claim, parts: Sequence[Part]) -> str:
        """Return the first member's, or an empty text."""
        found = [(member.name, member.obstacle(claim, parts)) for member in self.parts]
        return next((f"{name}: {text}" for name, text in found if text), "")

    def training(self, part: Part) -> str:
        """Return the family: all sides are paired."""
        return self.name

    def epochs(self, method: str) -> int | None:
        """Return the smallest number of epochs among the members."""
        found = [epochs for epochs in (member.epochs(method) for member in self.parts) if epochs is not None]
        return min(found, default=None)

    def on_split(self, claim: Claim) -> Claim:
        """Return the claim with the split on which it is judged here."""
        return self.parts[0].on_split(claim)

    def differences(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences of all members from the published settings."""
        return [one for member in self.parts for one in member.differences(claim, paper, parts)]

    def from_numbers(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences of all members from the settings of the claim's published numbers."""
        return [one for member in self.parts for one in member.from_numbers(claim, paper, parts)]

    def replicates(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """Concatenate the replicates of all members; each member's test samples are resampled separately."""
        found = [member.replicates(claim, parts, generator) for member in self.parts]
        sides = range(len(parts))
        return Replicates(
            [np.concatenate([one.observed[i] for one in found]) for i in sides],
            [np.concatenate([one.resampled[i] for one in found], axis=1) for i in sides],
            sum(one.n_id for one in found),
            sum(one.n_ood for one in found),
        )
