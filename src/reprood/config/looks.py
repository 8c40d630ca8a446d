"""The record of the interim analyses ("looks") at which a suite's claims are judged."""

import math
from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field, model_validator

from reprood.config.records import Record

ALPHA = 0.05  # false verdicts that are accepted, as a share of papers
LEAST = 3  # replicates of the first look: fewer do not estimate a variance


@dataclass(frozen=True)
class Look:
    """One interim analysis.

    Attributes
    ----------
    number : int
        From 1; 0 for a suite that is judged once, on all its replicates.
    replicates : int
        Number of replicates: exactly the first ones are used.
    weight : float
        Its share of the accepted errors, in (0, 1].
    """

    number: int
    replicates: int
    weight: float

    @property
    def level(self) -> float:
        """Nominal coverage of its intervals."""
        return 1 - ALPHA * self.weight


class Looks(Record):
    """The looks of a suite, fixed before its first run.

    As the weights sum to 1, a claim that is decided when p < 0.05 w at any look is wrong in at most 5 % (union bound),
    for every kind of claim, every stopping rule and every allocation of replicates.

    Attributes
    ----------
    looks : tuple of int
        Numbers of replicates, ascending.
    weights : tuple of float
        Share of each look; positive, sum 1.
    futility : float
        A claim is given up when the replicates of the last look would leave p above this value.
    """

    looks: tuple[int, ...] = Field(min_length=1)
    weights: tuple[float, ...] = Field(min_length=1)
    futility: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _valid(self) -> "Looks":
        if self.looks[0] < LEAST or any(b <= a for a, b in pairwise(self.looks)):
            raise ValueError(f"looks are {list(self.looks)}; expected ascending numbers of replicates from {LEAST} on")
        if len(self.weights) != len(self.looks):
            raise ValueError(f"{len(self.looks)} looks need as many weights, not {len(self.weights)}")
        if min(self.weights) <= 0 or not math.isclose(sum(self.weights), 1):
            raise ValueError(f"weights are {list(self.weights)}; expected positive numbers whose sum is 1")
        return self

    def stages(self) -> tuple[Look, ...]:
        """Return the looks in order."""
        pairs = zip(self.looks, self.weights, strict=True)
        return tuple(Look(number, n, weight) for number, (n, weight) in enumerate(pairs, 1))

    def reached(self, replicates: int) -> tuple[Look, ...]:
        """Return the looks that a number of replicates suffices for."""
        return tuple(look for look in self.stages() if look.replicates <= replicates)
