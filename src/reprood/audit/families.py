"""The evidence of a family of benchmarks: one class or one split of classes each, one member a replicate."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from reprood.audit.claims import Claim
from reprood.audit.evidence import BenchmarkEvidence
from reprood.audit.papers import Paper
from reprood.audit.parts import Part
from reprood.audit.regime import Regime, joined
from reprood.audit.settings import Difference
from reprood.core.errors import ReproodError
from reprood.evaluate.resample import Replicates


class FamilyEvidence:
    """Benchmarks of one family; replicate r of a method is its run of seed r, on the one member where that seed ran.

    All sides are paired by replicate, because members differ in difficulty far more than trainings do. Methods may have
    different numbers of replicates; a claim uses those that all its sides have.

    Parameters
    ----------
    name : str
        The family.
    members : sequence of BenchmarkEvidence
        Those that ran.
    declared : int
        Number of fixed members that the family has; 0 where every replicate draws its own.
    """

    def __init__(self, name: str, members: Sequence[BenchmarkEvidence], declared: int = 0) -> None:
        self.name, self.parts, self.declared = name, tuple(members), declared
        self._places: dict[tuple[str, int], int] = {}
        for place, member in enumerate(members):
            for method, seeds in member.seeds.items():
                for seed in seeds:
                    if (method, seed) in self._places:
                        raise ReproodError(
                            f"The family {name} runs {method} with seed {seed} on two members; a seed is one replicate."
                        )
                    self._places[method, seed] = place
        self.seeds: dict[str, tuple[int, ...]] = {}
        for method, seed in sorted(self._places, key=lambda run: run[1]):
            self.seeds[method] = (*self.seeds.get(method, ()), seed)

    def _with(self, methods: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield the members where some replicates of methods ran, and these replicates."""
        found: dict[int, list[int]] = {}
        for seed in seeds:
            where = {self._places[method, seed] for method in methods}
            if len(where) > 1:
                raise ReproodError(
                    f"The family {self.name} has replicate {seed} of {', '.join(methods)} on two members."
                )
            found.setdefault(where.pop(), []).append(seed)
        yield from sorted(found.items())

    def members(self, split: str) -> tuple[str, ...]:
        """Return the OOD sets of a split name, the same on all members."""
        return self.parts[0].members(split)

    def _having(self, *methods: str) -> list[BenchmarkEvidence]:
        return [member for member in self.parts if all(method in member.seeds for method in methods)]

    def measures(self, claim: Claim) -> bool:
        """Return whether every member measured it."""
        return all(member.measures(claim) for member in self.parts)

    def obstacle(self, claim: Claim, parts: Sequence[Part], seeds: Sequence[int], label: Callable[[str], str]) -> str:
        """Return the first member's, or an empty text."""
        methods = [part.method for part in parts]
        found = ((self.parts[i], own) for i, own in self._with(methods, seeds))
        texts = (member.obstacle(claim, parts, own, label) for member, own in found)
        return next((text for text in texts if text), "")

    def pairing(self, claim: Claim, part: Part) -> str:
        """Return the family: all sides are paired, also for errors."""
        return self.name

    def regime(self, claim: Claim, part: Part, seeds: Sequence[int]) -> Regime:
        """Return that of a baseline over its replicates on all members."""
        return joined([self.parts[i].regime(claim, part, own) for i, own in self._with([part.method], seeds)])

    def steps(self, method: str) -> int | None:
        """Return the smallest number of updates among the members."""
        found = [steps for steps in (member.steps(method) for member in self._having(method)) if steps is not None]
        return min(found, default=None)

    def on_split(self, claim: Claim) -> Claim:
        """Return the claim with the split on which it is judged here."""
        return self.parts[0].on_split(claim)

    def differences(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences of all members from the published settings."""
        here = self._having(*(part.method for part in parts))
        return [*self._missing(here), *(one for member in here for one in member.differences(claim, paper, parts))]

    def from_numbers(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return the differences of all members from the settings of the claim's published numbers."""
        here = self._having(*(part.method for part in parts))
        return [*self._missing(here), *(one for member in here for one in member.from_numbers(claim, paper, parts))]

    def _missing(self, members: Sequence[BenchmarkEvidence]) -> list[Difference]:
        """Return the difference of some fixed members from all, of which papers publish the mean."""
        if len(members) >= self.declared:
            return []
        return [
            Difference("members", f"measured on {len(members)} of {self.declared} members, published as mean of all")
        ]

    def replicates(
        self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator, seeds: Sequence[int]
    ) -> Replicates:
        """Join the replicates of all members, in the order of `seeds`; the units are the members.

        Every member's test samples are resampled alone; the members' images are the same in part.
        """
        order: list[int] = []
        units: list[int] = []
        found: list[Replicates] = []
        for i, own in self._with([part.method for part in parts], seeds):
            found.append(self.parts[i].replicates(claim, parts, generator, own))
            order += own
            units += [i] * len(own)
        sides = range(len(parts))
        everything = Replicates(
            [np.concatenate([one.observed[i] for one in found]) for i in sides],
            [np.concatenate([one.resampled[i] for one in found], axis=1) for i in sides],
            sum(one.n_id for one in found),
            sum(one.n_ood for one in found),
            tuple(units),
            pooled=len(found) > 1,
        )
        return everything.chosen([order.index(seed) for seed in seeds])
