"""Choose the replicates to run next: the most likely decisions per CPU-second. Pure functions."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Arm = tuple[str, str]  # benchmark or family, method


@dataclass(frozen=True)
class Look:
    """A later look of a claim.

    Attributes
    ----------
    claim : str
        paper/claim.
    arms : tuple of (str, str)
        The trainings that it compares: benchmark or family, method.
    number : int
        Of the look, from 1.
    replicates : int
        That each arm must have.
    value : float
        Predictive probability of a decision there, in [0, 1].
    exploratory : bool
    """

    claim: str
    arms: tuple[Arm, ...]
    number: int
    replicates: int
    value: float
    exploratory: bool = False


def raised(have: Mapping[Arm, int], looks: Collection[Look]) -> dict[Arm, int]:
    """Return the numbers of replicates with which all of `looks` can be taken."""
    found = dict(have)
    for look in looks:
        found |= {arm: max(found.get(arm, 0), look.replicates) for arm in look.arms}
    return found


def cost(have: Mapping[Arm, int], looks: Collection[Look], seconds: Mapping[Arm, float]) -> float:
    """Return the CPU-seconds of the missing replicates of some looks; arms that several of them need count once."""
    needed = raised(have, looks)
    return sum((needed[arm] - have.get(arm, 0)) * seconds[arm] for arm in needed if needed[arm] > have.get(arm, 0))


def choose(
    have: Mapping[Arm, int], looks: Sequence[Look], seconds: Mapping[Arm, float], *, most: float, share: float = 0.25
) -> list[Look]:
    """Return looks that fit in `most` CPU-seconds, the best value per second first, until a share of that is used.

    Main claims come first: an exploratory one is chosen only when no main claim fits. Choosing again after each batch
    is what adapts to results, so a batch takes a share of the time only; one look may take more.

    Parameters
    ----------
    have : mapping
        Arm -> replicates that have run.
    looks : sequence of Look
        The remaining looks of every claim that is open. At most one of a claim is chosen.
    seconds : mapping
        Arm -> CPU-seconds of one replicate.
    most : float
        CPU-seconds that are left.
    share : float
        In (0, 1].
    """
    for exploratory in (False, True):
        chosen: list[Look] = []
        left = [look for look in looks if look.exploratory == exploratory]
        while left:
            spent = cost(have, chosen, seconds)
            if chosen and spent >= share * most:
                break
            rates = {i: _rate(look, cost(have, [*chosen, look], seconds) - spent) for i, look in enumerate(left)}
            fits = [i for i in rates if cost(have, [*chosen, left[i]], seconds) <= most]
            if not fits:
                break
            best = left[max(fits, key=rates.__getitem__)]
            chosen.append(best)
            left = [look for look in left if look.claim != best.claim]
        if chosen:
            return chosen
    return []


def _rate(look: Look, seconds: float) -> float:
    """Return the value per second; what costs nothing comes first."""
    return look.value / seconds if seconds > 0 else math.inf
